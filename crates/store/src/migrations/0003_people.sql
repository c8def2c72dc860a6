-- Users, whose rights come from groups, and tokens that stand for them.

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    owner TEXT REFERENCES users (id),
    doc TEXT NOT NULL
) /*strict*/;
CREATE UNIQUE INDEX users_name ON users (name);
CREATE INDEX users_owner ON users (owner) WHERE owner IS NOT NULL;

CREATE TABLE groups (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    doc TEXT NOT NULL
) /*strict*/;
CREATE UNIQUE INDEX groups_name ON groups (name);

CREATE TABLE group_members (
    grp TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    member TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    CONSTRAINT group_members_once PRIMARY KEY (grp, member)
) /*strict*/;
CREATE INDEX group_members_member ON group_members (member);

-- What a group lets its members do goes with the project or the organisation.
CREATE TABLE group_grants (
    grp TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    role TEXT NOT NULL,
    organisation TEXT REFERENCES organisations (id) ON DELETE CASCADE,
    project TEXT REFERENCES projects (id) ON DELETE CASCADE,
    CONSTRAINT group_grants_one_place
        CHECK (organisation IS NULL OR project IS NULL)
) /*strict*/;
CREATE UNIQUE INDEX group_grants_once
    ON group_grants (grp, role, COALESCE(organisation, ''), COALESCE(project, ''));

ALTER TABLE tokens ADD COLUMN holder TEXT REFERENCES users (id) ON DELETE CASCADE;
CREATE INDEX tokens_holder ON tokens (holder) WHERE holder IS NOT NULL;

-- A secret that was changed for another may work on for a while.
ALTER TABLE tokens ADD COLUMN old_hash BYTEA;
ALTER TABLE tokens ADD COLUMN old_until BIGINT;
CREATE INDEX tokens_old_hash ON tokens (old_hash) WHERE old_hash IS NOT NULL;
CREATE INDEX projects_organisation ON projects (organisation);

-- The audit log: rows as they were committed, and the tree that seals them.
-- Nothing here is ever changed; triggers of each engine's own say so.

CREATE TABLE audit (
    seq /*serial*/,
    id TEXT NOT NULL,
    at BIGINT NOT NULL,
    action TEXT NOT NULL,
    project TEXT,
    machine TEXT,
    lease TEXT,
    salt BYTEA NOT NULL,
    hash BYTEA NOT NULL,
    doc TEXT NOT NULL
) /*strict*/;
CREATE UNIQUE INDEX audit_id ON audit (id);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_action ON audit (action);
CREATE INDEX audit_project ON audit (project) WHERE project IS NOT NULL;
CREATE INDEX audit_machine ON audit (machine) WHERE machine IS NOT NULL;
CREATE INDEX audit_lease ON audit (lease) WHERE lease IS NOT NULL;

-- Rows that the sealer has not come by yet: filled by a trigger. A cursor over
-- `seq` would not do, because PostgreSQL's transactions do not commit in the
-- order in which they took their numbers.
CREATE TABLE audit_unsealed (
    seq BIGINT PRIMARY KEY
) /*strict*/;

CREATE TABLE audit_leaves (
    leaf BIGINT PRIMARY KEY,
    seq BIGINT NOT NULL REFERENCES audit (seq)
) /*strict*/;
CREATE UNIQUE INDEX audit_leaves_seq ON audit_leaves (seq);

-- Complete nodes of the Merkle tree, leaves (level 0) included.
CREATE TABLE audit_nodes (
    level BIGINT NOT NULL,
    position BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    CONSTRAINT audit_nodes_one_each PRIMARY KEY (level, position)
) /*strict*/;

INSERT INTO meta (key, value)
VALUES ('store.audit.edge', '{"frontier":{"size":0,"hashes":[]},"sealed_at":null}');

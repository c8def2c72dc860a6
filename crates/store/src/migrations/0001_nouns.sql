-- The nouns. Columns are what constraints, indexes and filters need; `doc` is
-- the whole noun as JSON. Written once for both engines: BIGINT and BYTEA
-- become INTEGER and BLOB on SQLite, and /*strict*/ becomes STRICT.
-- Times are microseconds since 1970, booleans 0 or 1, ids text.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) /*strict*/;

CREATE TABLE organisations (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    doc TEXT NOT NULL
) /*strict*/;
CREATE UNIQUE INDEX organisations_name ON organisations (name);

CREATE TABLE projects (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    organisation TEXT NOT NULL REFERENCES organisations (id),
    doc TEXT NOT NULL
) /*strict*/;
CREATE UNIQUE INDEX projects_name ON projects (name);

CREATE TABLE sites (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    doc TEXT NOT NULL
) /*strict*/;
CREATE UNIQUE INDEX sites_name ON sites (name);

CREATE TABLE machine_types (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    doc TEXT NOT NULL
) /*strict*/;
CREATE UNIQUE INDEX machine_types_name ON machine_types (name);

CREATE TABLE networks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    doc TEXT NOT NULL
) /*strict*/;
CREATE UNIQUE INDEX networks_name ON networks (name);

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    project TEXT REFERENCES projects (id) ON DELETE CASCADE,
    hash BYTEA NOT NULL,
    last_used_at BIGINT,
    doc TEXT NOT NULL
) /*strict*/;
CREATE UNIQUE INDEX tokens_hash ON tokens (hash);
CREATE INDEX tokens_project ON tokens (project);

CREATE TABLE images (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    project TEXT REFERENCES projects (id),
    state TEXT NOT NULL,
    doc TEXT NOT NULL
) /*strict*/;
CREATE UNIQUE INDEX images_name ON images (COALESCE(project, ''), name);

-- A machine that may hold someone's data is never on offer.
CREATE TABLE machines (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    site TEXT NOT NULL REFERENCES sites (id),
    machine_type TEXT NOT NULL REFERENCES machine_types (name),
    bmc_address TEXT NOT NULL,
    lifecycle TEXT NOT NULL,
    may_hold_data BIGINT NOT NULL,
    cordoned BIGINT NOT NULL,
    unconfirmed BIGINT NOT NULL,
    lease TEXT,
    wake_at BIGINT NOT NULL,
    claimed_by TEXT,
    claimed_until BIGINT,
    version BIGINT NOT NULL,
    doc TEXT NOT NULL,
    CONSTRAINT machines_available_holds_nothing
        CHECK (NOT (lifecycle = 'available' AND may_hold_data = 1)),
    CONSTRAINT machines_booleans
        CHECK (may_hold_data IN (0, 1) AND cordoned IN (0, 1) AND unconfirmed IN (0, 1))
) /*strict*/;
CREATE UNIQUE INDEX machines_name ON machines (name) WHERE lifecycle <> 'retired';
CREATE UNIQUE INDEX machines_bmc ON machines (bmc_address) WHERE lifecycle <> 'retired';
CREATE INDEX machines_wake ON machines (wake_at) WHERE lifecycle <> 'retired';
CREATE INDEX machines_offer ON machines (machine_type, site, lifecycle);

CREATE TABLE addresses (
    machine TEXT NOT NULL REFERENCES machines (id),
    network TEXT NOT NULL REFERENCES networks (id),
    ip TEXT NOT NULL,
    CONSTRAINT addresses_one_each PRIMARY KEY (machine, network)
) /*strict*/;
CREATE UNIQUE INDEX addresses_ip ON addresses (network, ip);

-- `live_project` and `live_image` are set while the lease is not over: what a
-- live lease needs cannot be deleted, and its name is its own.
CREATE TABLE leases (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    project TEXT NOT NULL,
    live_project TEXT REFERENCES projects (id),
    live_image TEXT REFERENCES images (id),
    machine TEXT NOT NULL REFERENCES machines (id),
    state TEXT NOT NULL,
    ends_at BIGINT,
    version BIGINT NOT NULL,
    doc TEXT NOT NULL
) /*strict*/;
CREATE UNIQUE INDEX leases_name ON leases (live_project, name) WHERE live_project IS NOT NULL;
CREATE INDEX leases_project ON leases (project, name);
CREATE INDEX leases_machine ON leases (machine);
CREATE INDEX leases_image ON leases (live_image) WHERE live_image IS NOT NULL;
CREATE INDEX leases_ends ON leases (ends_at) WHERE state IN ('deploying', 'active');

CREATE TABLE lease_tags (
    lease TEXT NOT NULL REFERENCES leases (id),
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    CONSTRAINT lease_tags_one_each PRIMARY KEY (lease, key)
) /*strict*/;
CREATE INDEX lease_tags_value ON lease_tags (key, value);

-- One holder: a unit of a machine is here once or not at all.
CREATE TABLE holds (
    machine TEXT NOT NULL REFERENCES machines (id),
    unit BIGINT NOT NULL,
    lease TEXT NOT NULL REFERENCES leases (id),
    CONSTRAINT holds_one_holder PRIMARY KEY (machine, unit)
) /*strict*/;
CREATE INDEX holds_lease ON holds (lease);

CREATE TABLE operations (
    id TEXT PRIMARY KEY,
    project TEXT,
    machine TEXT,
    lease TEXT,
    state TEXT NOT NULL,
    doc TEXT NOT NULL
) /*strict*/;
CREATE INDEX operations_project ON operations (project);
CREATE INDEX operations_machine ON operations (machine);
CREATE INDEX operations_lease ON operations (lease);

CREATE TABLE boots (
    id TEXT PRIMARY KEY,
    machine TEXT NOT NULL REFERENCES machines (id),
    doc TEXT NOT NULL
) /*strict*/;
CREATE INDEX boots_machine ON boots (machine);

CREATE TABLE tasks (
    id TEXT PRIMARY KEY,
    machine TEXT NOT NULL REFERENCES machines (id),
    boot TEXT NOT NULL,
    doc TEXT NOT NULL
) /*strict*/;
CREATE INDEX tasks_machine ON tasks (machine);

CREATE TABLE evidence (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    machine TEXT NOT NULL,
    lease TEXT,
    project TEXT,
    doc TEXT NOT NULL
) /*strict*/;
CREATE INDEX evidence_machine ON evidence (machine);
CREATE INDEX evidence_lease ON evidence (lease);
CREATE INDEX evidence_project ON evidence (project);

-- Ciphertext only: the store never sees a plain secret.
CREATE TABLE secrets (
    owner TEXT NOT NULL,
    kind TEXT NOT NULL,
    ciphertext BYTEA NOT NULL,
    CONSTRAINT secrets_one_each PRIMARY KEY (owner, kind)
) /*strict*/;

CREATE TABLE idempotency (
    token TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash BYTEA NOT NULL,
    status BIGINT NOT NULL,
    body TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT idempotency_once PRIMARY KEY (token, key)
) /*strict*/;
CREATE INDEX idempotency_age ON idempotency (created_at);

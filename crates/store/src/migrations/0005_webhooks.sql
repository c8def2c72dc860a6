-- Addresses that are told what happens. How far each has come stands beside it
-- and not within: it changes with each event, and by whoever has the claim.

CREATE TABLE webhooks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    project TEXT REFERENCES projects (id) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    disabled BIGINT NOT NULL,
    doc TEXT NOT NULL,
    -- Encrypted.
    secret BYTEA NOT NULL,
    old_secret BYTEA,
    next BIGINT NOT NULL,
    retry_at BIGINT,
    delivery TEXT NOT NULL,
    claimed_by TEXT,
    claimed_until BIGINT
) /*strict*/;
CREATE UNIQUE INDEX webhooks_name ON webhooks (COALESCE(project, ''), name);

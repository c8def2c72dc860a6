-- Calls of the API. They are kept for a while, beside the audit log and not in it.

CREATE TABLE calls (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    token TEXT,
    status BIGINT NOT NULL,
    doc TEXT NOT NULL
) /*strict*/;
CREATE INDEX calls_at ON calls (at);

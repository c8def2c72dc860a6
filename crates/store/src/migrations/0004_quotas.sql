-- How many machines of a type a project, or all projects of an organisation,
-- may hold at once. Granting a lease locks the rows that count for it.

CREATE TABLE quotas (
    machine_type TEXT NOT NULL REFERENCES machine_types (name) ON DELETE CASCADE,
    organisation TEXT REFERENCES organisations (id) ON DELETE CASCADE,
    project TEXT REFERENCES projects (id) ON DELETE CASCADE,
    most BIGINT NOT NULL,
    CONSTRAINT quotas_one_holder
        CHECK ((organisation IS NULL AND project IS NOT NULL)
            OR (organisation IS NOT NULL AND project IS NULL)),
    CONSTRAINT quotas_natural CHECK (most >= 0)
) /*strict*/;
CREATE UNIQUE INDEX quotas_once
    ON quotas (machine_type, COALESCE(organisation, ''), COALESCE(project, ''));

-- A row that is put here for a quota that was gone beyond fails this check, and
-- with it its transaction.
CREATE TABLE quotas_exceeded (
    quotas_kept BIGINT NOT NULL,
    CONSTRAINT quotas_kept CHECK (quotas_kept = 1)
) /*strict*/;

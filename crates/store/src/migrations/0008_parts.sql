-- What was found in a machine is most of its record, and changes seldom: it has a row of its
-- own, and only what lists show of it stands beside the machine. A machine that is not
-- written again keeps a copy in its `doc`, which nobody reads.

CREATE TABLE machine_parts (
    machine TEXT PRIMARY KEY REFERENCES machines (id),
    inventory TEXT,
    firmware TEXT
) /*strict*/;

ALTER TABLE machines ADD COLUMN serial TEXT;
ALTER TABLE machines ADD COLUMN units BIGINT;

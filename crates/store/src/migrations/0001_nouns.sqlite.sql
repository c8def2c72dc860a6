-- A statement that had to change a row and changed none stops its transaction
-- here: `INSERT INTO unchanged SELECT 0 WHERE changes() = 0` fails this check.
CREATE TABLE unchanged (
    changed INTEGER NOT NULL,
    CONSTRAINT unchanged_never CHECK (changed > 0)
) STRICT;

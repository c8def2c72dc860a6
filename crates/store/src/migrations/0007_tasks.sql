-- Tasks are compared and set by their version: a report that comes late must not
-- take the place of the outcome that came before it.

ALTER TABLE tasks ADD COLUMN version BIGINT NOT NULL DEFAULT 1;

-- Networks are compared and set by their version, and the addresses that were given out
-- are counted: so that no network becomes narrower under an address that is given out at
-- the same time.

ALTER TABLE networks ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE networks ADD COLUMN given BIGINT NOT NULL DEFAULT 0;

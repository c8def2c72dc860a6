-- A token's secret is changed for another beside whoever else changes the token: when
-- that was is no part of its `doc`, but for what was written before.

ALTER TABLE tokens ADD COLUMN rotated_at BIGINT;

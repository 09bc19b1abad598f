-- How many calls a backend serves at once (0: as many as come), what share of that a group's members have, and for each
-- call how long it waited for its turn and how long it then had its seat.
ALTER TABLE backends ADD COLUMN slots BIGINT NOT NULL DEFAULT 0 CHECK (slots >= 0);
UPDATE backends SET slots = 1 WHERE kind = 'ollama';
ALTER TABLE groups ADD COLUMN weight BIGINT NOT NULL DEFAULT 1 CHECK (weight >= 1);
ALTER TABLE usage ADD COLUMN queue_ms BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN held_ms BIGINT NOT NULL DEFAULT 0;

-- Admins who opened a member's workspace: one row each, for good. It is open while `ended_at` is null, for `session` (the
-- hash of the admin's dashboard session) alone. `first_at` and `last_at` are its first and last use; 0: none yet.
CREATE TABLE inspections (
    id TEXT PRIMARY KEY,
    admin TEXT NOT NULL REFERENCES users (id),
    runtime_id TEXT NOT NULL REFERENCES runtimes (id),
    session BYTEA NOT NULL CHECK (length(session) = 32),
    reason TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL CHECK (until_at > opened_at),
    first_at BIGINT NOT NULL DEFAULT 0,
    last_at BIGINT NOT NULL DEFAULT 0,
    ended_at BIGINT,
    ending TEXT,
    ended_by TEXT REFERENCES users (id),
    CHECK ((ended_at IS NULL) = (ending IS NULL))
);
CREATE INDEX inspections_by_runtime ON inspections (runtime_id, opened_at);
CREATE UNIQUE INDEX inspections_open ON inspections (runtime_id, admin) WHERE ended_at IS NULL;

-- The inspection that a workspace's session rests on; null for a member's own.
ALTER TABLE sessions ADD COLUMN inspection TEXT REFERENCES inspections (id) ON DELETE CASCADE;

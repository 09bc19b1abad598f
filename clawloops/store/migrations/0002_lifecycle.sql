-- Sleep is the orchestrator's decision about a runtime that is wanted running; want stays the member's own.
ALTER TABLE runtimes ADD COLUMN sleep TEXT NOT NULL DEFAULT 'awake' CHECK (sleep IN ('awake', 'paused', 'stopped'));
ALTER TABLE runtimes ADD COLUMN sleep_why TEXT NOT NULL DEFAULT '';
ALTER TABLE runtimes ADD COLUMN sleep_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runtimes ADD COLUMN wake_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runtimes ADD COLUMN policy TEXT NOT NULL DEFAULT 'stop' CHECK (policy IN ('always-on', 'pause', 'stop'));
ALTER TABLE runtimes ADD COLUMN sleeps_despite_polling BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE runtimes ADD COLUMN size TEXT NOT NULL DEFAULT 'medium' CHECK (size IN ('small', 'medium', 'large'));
ALTER TABLE runtimes ADD COLUMN pin TEXT NOT NULL DEFAULT '';
ALTER TABLE runtimes ADD COLUMN image TEXT NOT NULL DEFAULT '';
ALTER TABLE runtimes ADD COLUMN volume BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runtimes ADD COLUMN volume_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runtimes ADD COLUMN before_image TEXT NOT NULL DEFAULT '';
ALTER TABLE runtimes ADD COLUMN before_volume BIGINT NOT NULL DEFAULT 0;
ALTER TABLE runtimes ADD COLUMN hook_hash BYTEA CHECK (length(hook_hash) = 32);

-- The workspaces of a member. A row is removed only after its Docker volume was.
CREATE TABLE volumes (
    runtime_id TEXT NOT NULL REFERENCES runtimes (id),
    number BIGINT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('live', 'snapshot', 'trash', 'filling')),
    note TEXT NOT NULL,
    image TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    PRIMARY KEY (runtime_id, number)
);
CREATE UNIQUE INDEX volumes_one_live ON volumes (runtime_id) WHERE kind = 'live';

CREATE TABLE jobs (
    id TEXT PRIMARY KEY,
    runtime_id TEXT NOT NULL REFERENCES runtimes (id),
    task TEXT NOT NULL,
    argument TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'done', 'failed')),
    note TEXT NOT NULL,
    actor TEXT,
    created_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL
);
CREATE INDEX jobs_open ON jobs (runtime_id, created_at) WHERE state IN ('pending', 'running');
CREATE INDEX jobs_by_time ON jobs (created_at);

CREATE TABLE runtime_events (
    id BIGSERIAL PRIMARY KEY,
    runtime_id TEXT NOT NULL,
    at BIGINT NOT NULL,
    kind TEXT NOT NULL,
    text TEXT NOT NULL,
    took_ms BIGINT,
    actor TEXT
);
CREATE INDEX runtime_events_by_runtime ON runtime_events (runtime_id, at);
CREATE INDEX runtime_events_by_time ON runtime_events (at);

-- Workspaces that were made before volumes had numbers are number 0, and are live.
INSERT INTO volumes (runtime_id, number, kind, note, image, bytes, made_at, ended_at)
SELECT id, 0, 'live', 'first workspace', '', 0, created_at, 0 FROM runtimes WHERE generation > 0;
UPDATE runtimes SET volume_at = created_at WHERE generation > 0;

-- Which image the members are being moved to, and how far that is.
CREATE TABLE rollouts (
    image TEXT PRIMARY KEY,
    canary TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('canary', 'rest', 'done', 'halted')),
    note TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL
);

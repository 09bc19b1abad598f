-- What a call cost and what its GPU drew, prices of what is served where, budgets, workspaces whose background calls are
-- held, and models that are being pulled.
ALTER TABLE usage ADD COLUMN cost BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN energy_mwh BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN images BIGINT NOT NULL DEFAULT 0;
ALTER TABLE usage ADD COLUMN is_background BOOLEAN NOT NULL DEFAULT FALSE;

ALTER TABLE backends ADD COLUMN watts BIGINT NOT NULL DEFAULT 0 CHECK (watts >= 0);

CREATE TABLE prices (
    backend_id TEXT NOT NULL REFERENCES backends (id) ON DELETE CASCADE,
    upstream TEXT NOT NULL,
    input BIGINT NOT NULL CHECK (input >= 0),
    output BIGINT NOT NULL CHECK (output >= 0),
    cached BIGINT NOT NULL CHECK (cached >= 0),
    is_own BOOLEAN NOT NULL,
    PRIMARY KEY (backend_id, upstream)
);

CREATE TABLE budgets (
    id TEXT PRIMARY KEY,
    scope TEXT NOT NULL,
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    group_id TEXT REFERENCES groups (id) ON DELETE CASCADE,
    key_id TEXT REFERENCES api_keys (id) ON DELETE CASCADE,
    model_id TEXT REFERENCES models (id) ON DELETE CASCADE,
    measure TEXT NOT NULL,
    span TEXT NOT NULL,
    amount BIGINT NOT NULL CHECK (amount > 0),
    is_background BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE held_runtimes (
    runtime_id TEXT PRIMARY KEY REFERENCES runtimes (id) ON DELETE CASCADE,
    why TEXT NOT NULL,
    at BIGINT NOT NULL
);

ALTER TABLE backends ADD COLUMN memory_mb BIGINT NOT NULL DEFAULT 0 CHECK (memory_mb >= 0);

CREATE TABLE pulls (
    id TEXT PRIMARY KEY,
    backend_id TEXT NOT NULL REFERENCES backends (id) ON DELETE CASCADE,
    model TEXT NOT NULL,
    is_offered BOOLEAN NOT NULL,
    state TEXT NOT NULL,
    note TEXT NOT NULL,
    actor TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL
);

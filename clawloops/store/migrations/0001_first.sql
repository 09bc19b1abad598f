-- Instants (*_at, at) are Unix time in milliseconds. Hashes are SHA-256, 32 bytes.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    login TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    password_hash TEXT NOT NULL,
    disabled_at BIGINT,
    created_at BIGINT NOT NULL
);

-- invited_by is NULL only for the installer's set-up link, so it must never become NULL by a deletion.
CREATE TABLE invitations (
    id TEXT PRIMARY KEY,
    token_hash BYTEA NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    role TEXT NOT NULL CHECK (role IN ('owner', 'admin', 'member')),
    note TEXT NOT NULL,
    invited_by TEXT REFERENCES users (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    used_by TEXT REFERENCES users (id) ON DELETE SET NULL
);

-- Rows stay when the runtime is gone, and a user with one cannot be deleted: that is what keeps a slug from being reused.
CREATE TABLE runtimes (
    id TEXT PRIMARY KEY,
    owner TEXT NOT NULL UNIQUE REFERENCES users (id),
    slug TEXT NOT NULL UNIQUE,
    want TEXT NOT NULL CHECK (want IN ('running', 'stopped', 'gone')),
    subnet TEXT NOT NULL UNIQUE,
    generation BIGINT NOT NULL CHECK (generation >= 0),
    token_hash BYTEA UNIQUE CHECK (length(token_hash) = 32),
    version BIGINT NOT NULL,
    failures BIGINT NOT NULL CHECK (failures >= 0),
    failure TEXT NOT NULL,
    retry_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE sessions (
    hash BYTEA PRIMARY KEY CHECK (length(hash) = 32),
    kind TEXT NOT NULL CHECK (kind IN ('dashboard', 'workspace')),
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    runtime_id TEXT REFERENCES runtimes (id) ON DELETE CASCADE,
    parent BYTEA REFERENCES sessions (hash) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    CHECK (
        (kind = 'dashboard' AND runtime_id IS NULL AND parent IS NULL)
        OR (kind = 'workspace' AND runtime_id IS NOT NULL AND parent IS NOT NULL)
    )
);
CREATE INDEX sessions_by_user ON sessions (user_id);
CREATE INDEX sessions_by_parent ON sessions (parent);
CREATE INDEX sessions_by_end ON sessions (expires_at);

CREATE TABLE backends (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('ollama', 'openai', 'litellm')),
    url TEXT NOT NULL,
    provider TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

-- The columns of seal.Sealed: nothing here can be read without the master key, which is not in the database.
CREATE TABLE credentials (
    id TEXT PRIMARY KEY,
    backend_id TEXT NOT NULL UNIQUE REFERENCES backends (id) ON DELETE CASCADE,
    version BIGINT NOT NULL CHECK (version >= 1),
    key_id TEXT NOT NULL,
    wrapped BYTEA NOT NULL,
    nonce BYTEA NOT NULL,
    ciphertext BYTEA NOT NULL
);

CREATE TABLE models (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    backend_id TEXT NOT NULL REFERENCES backends (id) ON DELETE CASCADE,
    upstream TEXT NOT NULL,
    context_window BIGINT NOT NULL CHECK (context_window > 0),
    max_tokens BIGINT NOT NULL CHECK (max_tokens > 0),
    is_default BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX models_by_backend ON models (backend_id);
CREATE UNIQUE INDEX models_one_default ON models (is_default) WHERE is_default;

-- No foreign keys: a call that was made is counted, whatever became of its user, runtime or backend.
CREATE TABLE usage (
    id TEXT PRIMARY KEY,
    at BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    runtime_id TEXT NOT NULL,
    model TEXT NOT NULL,
    backend_id TEXT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cached_tokens BIGINT NOT NULL,
    reasoning_tokens BIGINT NOT NULL,
    status BIGINT NOT NULL,
    first_ms BIGINT,
    total_ms BIGINT NOT NULL
);
CREATE INDEX usage_by_user ON usage (user_id, at);
CREATE INDEX usage_by_time ON usage (at);

CREATE TABLE audit (
    seq BIGSERIAL PRIMARY KEY,
    at BIGINT NOT NULL,
    actor TEXT,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL
);

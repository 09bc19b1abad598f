-- Keys of members' own tools. A key is shown once, and only its hash is kept.
CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id),
    name TEXT NOT NULL,
    token_hash BYTEA NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    hint TEXT NOT NULL,
    models TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    UNIQUE (user_id, name)
);

ALTER TABLE usage ADD COLUMN key_id TEXT NOT NULL DEFAULT '';
CREATE INDEX usage_by_key ON usage (key_id, at) WHERE key_id <> '';

-- A member's tokens for the JSON API, and which of them a key for own tools was made with: it ends with that token.
CREATE TABLE personal_tokens (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    token_hash BYTEA NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    hint TEXT NOT NULL,
    scopes TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL DEFAULT 0,
    UNIQUE (user_id, name)
);

ALTER TABLE api_keys ADD COLUMN token_id TEXT REFERENCES personal_tokens (id) ON DELETE CASCADE;
CREATE INDEX api_keys_by_token ON api_keys (token_id) WHERE token_id IS NOT NULL;

-- Members in groups, names that lead to several places in order, grants, and several keys for one backend.
CREATE TABLE groups (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

CREATE TABLE group_members (
    group_id TEXT NOT NULL REFERENCES groups (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX group_members_by_user ON group_members (user_id);

-- Made anew, because SQLite cannot drop a column that refers to another table.
CREATE TABLE named (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    context_window BIGINT NOT NULL CHECK (context_window > 0),
    max_tokens BIGINT NOT NULL CHECK (max_tokens > 0),
    is_default BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    is_open BOOLEAN NOT NULL
);
INSERT INTO named SELECT id, name, context_window, max_tokens, is_default, created_at, TRUE FROM models;
CREATE TABLE led AS SELECT id AS model_id, backend_id, upstream FROM models;
DROP TABLE models;
ALTER TABLE named RENAME TO models;
CREATE UNIQUE INDEX models_one_default ON models (is_default) WHERE is_default;

CREATE TABLE places (
    model_id TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    backend_id TEXT NOT NULL REFERENCES backends (id) ON DELETE CASCADE,
    upstream TEXT NOT NULL,
    PRIMARY KEY (model_id, position)
);
CREATE INDEX places_by_backend ON places (backend_id);
INSERT INTO places SELECT model_id, 0, backend_id, upstream FROM led;
DROP TABLE led;

-- Read only where models.is_open is false: a grant that goes with its group opens nothing to everybody.
CREATE TABLE grants (
    model_id TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    group_id TEXT REFERENCES groups (id) ON DELETE CASCADE,
    CHECK ((user_id IS NULL) <> (group_id IS NULL))
);
CREATE INDEX grants_by_model ON grants (model_id);

CREATE TABLE keyring (
    id TEXT PRIMARY KEY,
    backend_id TEXT NOT NULL REFERENCES backends (id) ON DELETE CASCADE,
    version BIGINT NOT NULL CHECK (version >= 1),
    key_id TEXT NOT NULL,
    wrapped BYTEA NOT NULL,
    nonce BYTEA NOT NULL,
    ciphertext BYTEA NOT NULL,
    name TEXT NOT NULL,
    hint TEXT NOT NULL,
    group_id TEXT REFERENCES groups (id) ON DELETE CASCADE,
    created_at BIGINT NOT NULL
);
INSERT INTO keyring
SELECT id, backend_id, version, key_id, wrapped, nonce, ciphertext, '', '', NULL,
    (SELECT created_at FROM backends WHERE backends.id = backend_id)
FROM credentials;
DROP TABLE credentials;
ALTER TABLE keyring RENAME TO credentials;
CREATE INDEX credentials_by_backend ON credentials (backend_id);

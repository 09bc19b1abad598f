-- What a member lets their agent use beside the models. The secrets of each (headers, variables, a bot's token) are sealed
-- together, for this row, its owner and where they may go. `target`: an address, a command line, or who may write.
CREATE TABLE connections (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    target TEXT NOT NULL,
    enabled BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    version INTEGER NOT NULL,
    key_id TEXT NOT NULL,
    wrapped BYTEA NOT NULL,
    nonce BYTEA NOT NULL,
    ciphertext BYTEA NOT NULL,
    UNIQUE (user_id, name)
);

-- Id of the model that its member has chosen for a workspace; empty: the default of the box.
ALTER TABLE runtimes ADD COLUMN model TEXT NOT NULL DEFAULT '';

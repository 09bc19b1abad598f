-- Whom people may sign in with besides this box itself (OpenID Connect): one row, or none. Its client secret is sealed as
-- the keys in `credentials` are. `domains` has spaces between them.
CREATE TABLE issuers (
    id TEXT PRIMARY KEY CHECK (id = 'oidc'),
    url TEXT NOT NULL,
    client_id TEXT NOT NULL,
    label TEXT NOT NULL,
    scopes TEXT NOT NULL,
    ca TEXT NOT NULL,
    first_login TEXT NOT NULL CHECK (first_login IN ('refused', 'invited', 'members')),
    groups_claim TEXT NOT NULL,
    domains TEXT NOT NULL,
    is_only BOOLEAN NOT NULL,
    version BIGINT NOT NULL CHECK (version >= 1),
    key_id TEXT NOT NULL,
    wrapped BYTEA NOT NULL,
    nonce BYTEA NOT NULL,
    ciphertext BYTEA NOT NULL,
    changed_at BIGINT NOT NULL
);

-- What being in one of the issuer's groups means here.
CREATE TABLE issuer_rules (
    position BIGINT PRIMARY KEY,
    claimed TEXT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('admin', 'member')),
    group_id TEXT REFERENCES groups (id) ON DELETE SET NULL
);

-- Who somebody is to an issuer. `said` is what its owner recognises it by; who it is, the first two say alone. One that
-- was unlinked is kept until another account has it: it signs nobody in, and of somebody disabled it is still known.
CREATE TABLE identities (
    issuer TEXT NOT NULL,
    subject TEXT NOT NULL,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    said TEXT NOT NULL,
    linked_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    unlinked_at BIGINT,
    PRIMARY KEY (issuer, subject)
);
CREATE UNIQUE INDEX identities_linked ON identities (issuer, user_id) WHERE unlinked_at IS NULL;

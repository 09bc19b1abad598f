-- A fourth role. SQLite changes no CHECK, so the column is made anew; nothing is ever written without a role.
ALTER TABLE users ADD COLUMN new_role TEXT NOT NULL DEFAULT 'viewer'
    CHECK (new_role IN ('owner', 'admin', 'member', 'viewer'));
UPDATE users SET new_role = role;
ALTER TABLE users DROP COLUMN role;
ALTER TABLE users RENAME COLUMN new_role TO role;
ALTER TABLE invitations ADD COLUMN new_role TEXT NOT NULL DEFAULT 'viewer'
    CHECK (new_role IN ('owner', 'admin', 'member', 'viewer'));
UPDATE invitations SET new_role = role;
ALTER TABLE invitations DROP COLUMN role;
ALTER TABLE invitations RENAME COLUMN new_role TO role;

-- The group that somebody is in from the moment they join.
ALTER TABLE invitations ADD COLUMN group_id TEXT REFERENCES groups (id) ON DELETE SET NULL;

-- Invitations that are sent by e-mail. The link is not here: it is derived from a sealed key and the invitation's id.
-- `next_at` is when a waiting one is tried (again); of the others, when they were sent or given up.
CREATE TABLE deliveries (
    invitation_id TEXT PRIMARY KEY REFERENCES invitations (id) ON DELETE CASCADE,
    recipient TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'sent', 'failed')),
    tries BIGINT NOT NULL CHECK (tries >= 0),
    next_at BIGINT NOT NULL,
    said TEXT NOT NULL,
    queued_at BIGINT NOT NULL
);

-- One-time links with which members set a new password: the last one of each. When one was used last, and who had made
-- that one, stays when another one is made or withdrawn, so that members can see it.
CREATE TABLE password_resets (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    token_hash BYTEA NOT NULL UNIQUE CHECK (length(token_hash) = 32),
    drops_factors BOOLEAN NOT NULL,
    made_by TEXT NOT NULL REFERENCES users (id),
    made_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT,
    last_used_at BIGINT,
    last_made_by TEXT REFERENCES users (id)
);

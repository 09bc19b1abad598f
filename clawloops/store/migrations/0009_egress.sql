-- How far workspaces reach on the internet: a policy where a member has one of their own, rules (without a member: for
-- everybody), and what they had to do with each place in each hour.
CREATE TABLE egress_policies (
    user_id TEXT PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    mode TEXT NOT NULL,
    asks BOOLEAN NOT NULL
);

CREATE TABLE egress_rules (
    id TEXT PRIMARY KEY,
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    host TEXT NOT NULL,
    port BIGINT NOT NULL CHECK (port BETWEEN 0 AND 65535),
    allows BOOLEAN NOT NULL,
    source TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX egress_rules_place ON egress_rules (COALESCE(user_id, ''), host, port);

CREATE TABLE egress_receipts (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hour BIGINT NOT NULL,
    host TEXT NOT NULL,
    port BIGINT NOT NULL,
    outcome TEXT NOT NULL,
    address TEXT NOT NULL,
    connections BIGINT NOT NULL,
    sent BIGINT NOT NULL,
    received BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, hour, host, port, outcome)
);
CREATE INDEX egress_receipts_hour ON egress_receipts (hour);

-- Where everybody's agents may go from the first day on: to look things up, for code, and for the chats that OpenClaw joins.
-- Refused is where OpenClaw's page looks for pictures of its users, whom it would tell of.
INSERT INTO egress_rules (id, user_id, host, port, allows, source, created_at) VALUES
    ('e-box-01', NULL, '*.wikipedia.org', 0, TRUE, 'box', 0),
    ('e-box-02', NULL, 'duckduckgo.com', 0, TRUE, 'box', 0),
    ('e-box-03', NULL, '*.duckduckgo.com', 0, TRUE, 'box', 0),
    ('e-box-04', NULL, 'api.search.brave.com', 0, TRUE, 'box', 0),
    ('e-box-05', NULL, 'developer.mozilla.org', 0, TRUE, 'box', 0),
    ('e-box-06', NULL, 'docs.python.org', 0, TRUE, 'box', 0),
    ('e-box-07', NULL, 'stackoverflow.com', 0, TRUE, 'box', 0),
    ('e-box-08', NULL, 'github.com', 0, TRUE, 'box', 0),
    ('e-box-09', NULL, '*.github.com', 0, TRUE, 'box', 0),
    ('e-box-10', NULL, '*.githubusercontent.com', 0, TRUE, 'box', 0),
    ('e-box-11', NULL, 'api.telegram.org', 0, TRUE, 'box', 0),
    ('e-box-12', NULL, 'slack.com', 0, TRUE, 'box', 0),
    ('e-box-13', NULL, '*.slack.com', 0, TRUE, 'box', 0),
    ('e-box-14', NULL, 'discord.com', 0, TRUE, 'box', 0),
    ('e-box-15', NULL, '*.discord.com', 0, TRUE, 'box', 0),
    ('e-box-16', NULL, 'gateway.discord.gg', 0, TRUE, 'box', 0),
    ('e-box-17', NULL, 'gravatar.com', 0, FALSE, 'box', 0),
    ('e-box-18', NULL, '*.gravatar.com', 0, FALSE, 'box', 0);

-- The number of a runtime's decoy key. Those of lower numbers were dealt with by an admin, and are refused like any key.
ALTER TABLE runtimes ADD COLUMN decoy BIGINT NOT NULL DEFAULT 0;

-- Uses of decoys that no admin has taken note of yet. A decoy outlives its runtime's row (a database may be restored from
-- before), and is told of all the same: so `runtime_id` refers to nothing.
CREATE TABLE decoy_uses (
    runtime_id TEXT NOT NULL,
    place TEXT NOT NULL,
    origin TEXT NOT NULL,
    count BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    has_stopped BOOLEAN NOT NULL,
    PRIMARY KEY (runtime_id, place, origin)
);

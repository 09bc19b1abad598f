-- Calls added up by day (of UTC, counted from 1970-01-01), so that no page and no budget reads them one by one; and how long
-- a model's first word took in a month (of UTC: 12 times the year, and months from 0), in eighths of an octave.
CREATE TABLE usage_days (
    day BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    model TEXT NOT NULL,
    backend_id TEXT NOT NULL,
    key_id TEXT NOT NULL,
    is_background BOOLEAN NOT NULL,
    is_free BOOLEAN NOT NULL,
    calls BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    input BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    reasoning BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    held_ms BIGINT NOT NULL,
    energy_mwh BIGINT NOT NULL,
    PRIMARY KEY (day, user_id, model, backend_id, key_id, is_background, is_free)
);
CREATE INDEX usage_days_by_user ON usage_days (user_id, day);
INSERT INTO usage_days
    SELECT at / 86400000, user_id, model, backend_id, key_id, is_background, cost = 0, count(*),
        sum(CASE WHEN status >= 200 AND status < 300 THEN 0 ELSE 1 END), sum(input_tokens), sum(output_tokens),
        sum(cached_tokens), sum(reasoning_tokens), sum(cost), sum(held_ms), sum(energy_mwh)
    FROM usage GROUP BY 1, 2, 3, 4, 5, 6, 7;

CREATE TABLE usage_first_words (
    month BIGINT NOT NULL,
    model TEXT NOT NULL,
    eighths BIGINT NOT NULL,
    calls BIGINT NOT NULL,
    PRIMARY KEY (month, model, eighths)
);

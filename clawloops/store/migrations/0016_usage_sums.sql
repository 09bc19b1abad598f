-- What the page of everybody's usage reads: a few hundred rows instead of each member's days. Kept with `usage_days`,
-- in the same transaction.
CREATE TABLE usage_box_days (
    day BIGINT NOT NULL,
    model TEXT NOT NULL,
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
    PRIMARY KEY (day, model, is_free)
);
INSERT INTO usage_box_days
    SELECT day, model, is_free, sum(calls), sum(failed), sum(input), sum(output), sum(cached), sum(reasoning),
        sum(cost), sum(held_ms), sum(energy_mwh)
    FROM usage_days GROUP BY day, model, is_free;

CREATE TABLE usage_months (
    month BIGINT NOT NULL,
    user_id TEXT NOT NULL,
    calls BIGINT NOT NULL,
    failed BIGINT NOT NULL,
    input BIGINT NOT NULL,
    output BIGINT NOT NULL,
    cached BIGINT NOT NULL,
    reasoning BIGINT NOT NULL,
    cost BIGINT NOT NULL,
    held_ms BIGINT NOT NULL,
    energy_mwh BIGINT NOT NULL,
    PRIMARY KEY (month, user_id)
);
-- From days since 1970 to months since the year 0, by counting years from March on, as both databases can reckon it:
-- https://howardhinnant.github.io/date_algorithms.html#civil_from_days, within the era that began in March 2000.
INSERT INTO usage_months
    SELECT (2000 + year) * 12 + (5 * (left_days - (365 * year + year / 4 - year / 100)) + 2) / 153 + 2, user_id,
        sum(calls), sum(failed), sum(input), sum(output), sum(cached), sum(reasoning), sum(cost), sum(held_ms),
        sum(energy_mwh)
    FROM (
        SELECT usage_days.*, day - 11017 AS left_days,
            (day - 11017 - (day - 11017) / 1460 + (day - 11017) / 36524 - (day - 11017) / 146096) / 365 AS year
        FROM usage_days WHERE day >= 11017
    ) AS dated GROUP BY 1, 2;

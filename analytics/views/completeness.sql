-- How much of each repository is here and right.
CREATE OR REPLACE VIEW completeness AS
WITH counted AS (
    -- What a list told of or what was observed.
    SELECT
        repository,
        sum(bit_count(listed | landed | not_landed))::BIGINT AS numbers,
        sum(bit_count(listed))::BIGINT AS listed_numbers,
        sum(bit_count(landed))::BIGINT AS landed_numbers
    FROM number_blocks
    GROUP BY repository
),
gone AS (
    SELECT repository, number, gone_at FROM pull_request_observations WHERE gone_at IS NOT NULL
),
-- Gone ones do not count, unless they are listed again.
discounted AS (
    SELECT gone.repository, count(*) AS numbers, count(inventory.number) AS listed_numbers
    FROM gone
    LEFT JOIN (FROM inventory SEMI JOIN gone USING (repository, number)) AS inventory USING (repository, number)
    WHERE NOT coalesce(inventory.observed_at > gone.gone_at, false)
    GROUP BY gone.repository
),
wrong AS (
    SELECT
        repository,
        number,
        bool_or(rule = 'incomplete') AS is_incomplete,
        bool_or(rule NOT IN ('missing', 'incomplete')) AS is_different
    FROM open_findings
    WHERE is_gap AND number > 0
    GROUP BY repository, number
),
faults AS (
    SELECT
        repository,
        count(*) FILTER (is_different) AS different,
        count(*) FILTER (is_incomplete) AS incomplete,
        count(*) FILTER (is_different OR is_incomplete) AS faulty
    FROM wrong
    SEMI JOIN (FROM pull_request_observations WHERE version IS NOT NULL AND gone_at IS NULL)
        USING (repository, number)
    GROUP BY repository
)
SELECT
    counted.repository,
    counted.numbers - coalesce(discounted.numbers, 0) AS known,
    counted.listed_numbers - coalesce(discounted.listed_numbers, 0) AS listed,
    counted.landed_numbers AS landed,
    known - landed AS missing,
    coalesce(faults.different, 0) AS different,
    coalesce(faults.incomplete, 0) AS incomplete,
    (landed - coalesce(faults.faulty, 0)) * 100.0 / known AS percent
FROM counted
LEFT JOIN discounted USING (repository)
LEFT JOIN faults USING (repository)
WHERE known > 0;
COMMENT ON VIEW completeness IS 'How much of each repository is here and right, by the newest inventory and the findings that are open.';
COMMENT ON COLUMN completeness.repository IS 'owner/name.';
COMMENT ON COLUMN completeness.known IS 'Pull requests that are known to exist.';
COMMENT ON COLUMN completeness.listed IS 'Those that a poll, sweep or backfill listed.';
COMMENT ON COLUMN completeness.landed IS 'Those that are landed.';
COMMENT ON COLUMN completeness.missing IS 'Those that are not.';
COMMENT ON COLUMN completeness.different IS 'Landed ones with an open finding other than incomplete.';
COMMENT ON COLUMN completeness.incomplete IS 'Landed ones with an open finding that a list is not whole.';
COMMENT ON COLUMN completeness.percent IS 'Share of the known ones that are landed and without an open finding.';

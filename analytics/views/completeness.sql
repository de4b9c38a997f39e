-- How much of each repository is here and right.
CREATE OR REPLACE VIEW completeness AS
WITH known AS (
    -- What a list told of or what is landed. Gone ones do not count, unless they are listed again.
    SELECT
        coalesce(inventory.repository, landed.repository) AS repository,
        coalesce(inventory.number, landed.number) AS number,
        inventory.number IS NOT NULL AS is_listed,
        landed.version IS NOT NULL AND landed.gone_at IS NULL AS is_landed,
        landed.gone_at
    FROM inventory
    FULL OUTER JOIN pull_request_observations AS landed
        ON inventory.repository = landed.repository AND inventory.number = landed.number
    WHERE landed.gone_at IS NULL OR inventory.observed_at > landed.gone_at
),
wrong AS (
    SELECT
        repository,
        number,
        bool_or(rule = 'missing') AS is_missing,
        bool_or(rule = 'incomplete') AS is_incomplete,
        bool_or(rule NOT IN ('missing', 'incomplete')) AS is_different
    FROM open_findings
    WHERE is_gap AND number > 0
    GROUP BY repository, number
)
SELECT
    known.repository,
    count(*) AS known,
    count(*) FILTER (known.is_listed) AS listed,
    count(*) FILTER (known.is_landed) AS landed,
    count(*) - landed AS missing,
    count(*) FILTER (known.is_landed AND wrong.is_different) AS different,
    count(*) FILTER (known.is_landed AND wrong.is_incomplete) AS incomplete,
    count(*) FILTER (known.is_landed AND NOT coalesce(wrong.is_different OR wrong.is_incomplete, false))
        * 100.0 / count(*) AS percent
FROM known
LEFT JOIN wrong USING (repository, number)
GROUP BY known.repository;
COMMENT ON VIEW completeness IS 'How much of each repository is here and right, by the newest inventory and the findings that are open.';
COMMENT ON COLUMN completeness.repository IS 'owner/name.';
COMMENT ON COLUMN completeness.known IS 'Pull requests that are known to exist.';
COMMENT ON COLUMN completeness.listed IS 'Those that a poll, sweep or backfill listed.';
COMMENT ON COLUMN completeness.landed IS 'Those that are landed.';
COMMENT ON COLUMN completeness.missing IS 'Those that are not.';
COMMENT ON COLUMN completeness.different IS 'Landed ones with an open finding other than incomplete.';
COMMENT ON COLUMN completeness.incomplete IS 'Landed ones with an open finding that a list is not whole.';
COMMENT ON COLUMN completeness.percent IS 'Share of the known ones that are landed and without an open finding.';

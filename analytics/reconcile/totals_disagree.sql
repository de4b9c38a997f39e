-- code: totals_disagree
-- severity: warning
-- precedence: 130
-- about: repository
-- repair: none
-- reason: GitHub counts more pull requests than any list has shown: of the numbers that are no known pull request, some are not issues
-- remedy: the next sweep of everything lists them; when it does not, start a backfill
WITH told AS (
    SELECT
        repository,
        max_by(total_count, newest_page_at) AS total_count,
        max(newest_page_at) AS told_at,
        bool_or(scope = 'all') AS walked
    FROM scans
    WHERE scope IN ('all', 'recent') AND finished_at IS NOT NULL
    GROUP BY repository
),
known AS (
    SELECT inventory.repository, count(*) AS known, max(inventory.number) AS newest
    FROM inventory
    JOIN told USING (repository)
    LEFT JOIN (FROM pull_request_observations WHERE gone_at IS NOT NULL) AS landed USING (repository, number)
    -- What has gone since was counted.
    WHERE landed.gone_at IS NULL OR inventory.observed_at > landed.gone_at OR landed.gone_at > told.told_at
    GROUP BY inventory.repository
)
SELECT
    told.repository,
    0 AS number,
    NULL::VARCHAR AS node_id,
    format('GitHub counts {}, {} are known; {} numbers up to {} are no known pull request',
        told.total_count, coalesce(known.known, 0),
        coalesce(known.newest - known.known, 0), coalesce(known.newest, 0)) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    told.told_at AS evidence_at
FROM told
LEFT JOIN known USING (repository)
-- Before the first walk over all of them nothing is expected to agree.
WHERE told.walked AND told.total_count > coalesce(known.known, 0)

-- code: not_listed
-- severity: warning
-- precedence: 70
-- reason: it is landed and not gone, and a finished sweep of all pull requests that began later did not list it
-- remedy: the pull request is fetched: it is then landed anew, or as gone
WITH all_scans AS (
    -- Only a finished scan tells what it did not list.
    SELECT repository, max(started_at) AS started_at
    FROM scans
    WHERE scope = 'all' AND finished_at IS NOT NULL
    GROUP BY repository
),
-- All others were listed since, without an exception.
doubtful AS (
    SELECT number_blocks.repository, number_blocks.block
    FROM number_blocks
    JOIN all_scans USING (repository)
    WHERE (number_blocks.landed | number_blocks.not_landed) & ~number_blocks.listed <> 0
       OR number_blocks.oldest_observed_at < all_scans.started_at
),
listed AS (
    SELECT inventory.repository, inventory.number
    FROM (
        FROM inventory
        SEMI JOIN doubtful ON inventory.repository = doubtful.repository AND inventory.number >> 6 = doubtful.block
    ) AS inventory
    JOIN all_scans USING (repository)
    WHERE inventory.observed_at >= all_scans.started_at
),
unlisted AS (
    SELECT landed.repository, landed.number, landed.observed_at, all_scans.started_at
    FROM (
        FROM pull_request_observations AS landed
        SEMI JOIN doubtful ON landed.repository = doubtful.repository AND landed.number >> 6 = doubtful.block
    ) AS landed
    JOIN all_scans USING (repository)
    ANTI JOIN listed USING (repository, number)
    WHERE landed.gone_at IS NULL
      AND landed.observed_at < all_scans.started_at
)
SELECT
    unlisted.repository,
    unlisted.number,
    -- Asked for by number. Where a new repository has the name of one that was renamed, the node still
    -- exists in the other, and would answer for ever.
    NULL::VARCHAR AS node_id,
    format('not listed from {} on; landed at {}',
        utc(unlisted.started_at), utc(unlisted.observed_at)) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    unlisted.started_at AS evidence_at
FROM unlisted
SEMI JOIN pull_request_contents USING (repository, number)

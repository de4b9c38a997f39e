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
)
SELECT
    landed.repository,
    landed.number,
    contents.id AS node_id,
    format('not listed from {} on; landed at {}',
        utc(all_scans.started_at), utc(landed.observed_at)) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    all_scans.started_at AS evidence_at
FROM pull_request_observations AS landed
JOIN all_scans USING (repository)
JOIN pull_request_contents AS contents USING (repository, number)
LEFT JOIN inventory USING (repository, number)
WHERE landed.gone_at IS NULL
  AND landed.observed_at < all_scans.started_at
  AND (inventory.observed_at IS NULL OR inventory.observed_at < all_scans.started_at)

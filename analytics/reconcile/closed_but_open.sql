-- code: closed_but_open
-- severity: warning
-- precedence: 30
-- reason: it is landed as open, and was seen closed or merged, or was not on a finished list of the open ones
-- remedy: the pull request is fetched
WITH open_scans AS (
    -- Only a finished scan tells what it did not list.
    SELECT repository, max(started_at) AS started_at
    FROM scans
    WHERE scope = 'open' AND finished_at IS NOT NULL
    GROUP BY repository
)
SELECT
    repository,
    number,
    node_id,
    format('state is {}; landed {}', inventory_state, landed_state) AS reason,
    inventory_updated_at AS changed_at,
    inventory_observed_at AS evidence_at
FROM inventory_differences
WHERE landed_state = 'OPEN' AND inventory_state <> 'OPEN'
UNION ALL
SELECT
    landed.repository,
    landed.number,
    -- Asked for by number, as where a sweep of all of them did not list it.
    NULL,
    format('not among the open ones listed from {} on; landed OPEN at {}',
        utc(open_scans.started_at), utc(landed.observed_at)),
    NULL,
    open_scans.started_at
FROM pull_request_observations AS landed
JOIN open_scans USING (repository)
JOIN pull_request_contents AS contents USING (repository, number)
LEFT JOIN inventory USING (repository, number)
WHERE contents.state = 'OPEN'
  AND landed.gone_at IS NULL
  AND landed.observed_at < open_scans.started_at
  -- Seen since, by any scan: then what it showed is what counts.
  AND (inventory.observed_at IS NULL OR inventory.observed_at < open_scans.started_at)

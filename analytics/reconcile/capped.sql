-- code: capped
-- severity: info
-- precedence: 105
-- gap: no
-- repair: none
-- reason: the pull request is larger than GitHub tells of: a list ends where GitHub ends every list of its kind
-- remedy: none here: everything that GitHub tells is landed; clone the repository for the rest
WITH capped AS (
    FROM capped_lists
)
SELECT
    capped.repository,
    capped.number,
    any_value(contents.id) AS node_id,
    string_agg(format('{} {} of {}', capped.collection, capped.held, capped.existing), ', ' ORDER BY capped.collection) AS reason,
    any_value(contents.updated_at) AS changed_at,
    any_value(landed.observed_at) AS evidence_at
FROM capped
JOIN (FROM pull_request_contents SEMI JOIN capped USING (repository, number)) AS contents USING (repository, number)
JOIN pull_request_observations AS landed USING (repository, number)
ANTI JOIN (FROM pull_request_observations WHERE gone_at IS NOT NULL) USING (repository, number)
GROUP BY capped.repository, capped.number

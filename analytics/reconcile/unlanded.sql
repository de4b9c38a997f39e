-- code: unlanded
-- severity: warning
-- precedence: 15
-- reason: an observation confirmed a version that has not landed: the change that led to it was lost on its way
-- remedy: the pull request is fetched and compared anew, its whole content with it
SELECT
    landed.repository,
    landed.number,
    coalesce(contents.id, inventory.id) AS node_id,
    format('version {} was confirmed at {}; landed {}',
        landed.confirmed_version, utc(landed.confirmed_at), coalesce(landed.version, 'none')) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    landed.confirmed_at AS evidence_at
FROM pull_request_observations AS landed
LEFT JOIN pull_request_contents AS contents USING (repository, number)
LEFT JOIN inventory USING (repository, number)
WHERE landed.confirmed_version IS DISTINCT FROM landed.version
  AND landed.confirmed_at > coalesce(landed.content_observed_at, '-infinity')
  AND landed.gone_at IS NULL

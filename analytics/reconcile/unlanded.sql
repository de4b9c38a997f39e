-- code: unlanded
-- severity: warning
-- precedence: 15
-- reason: an observation confirmed a version that has not landed: the change that led to it was lost on its way
-- remedy: the pull request is fetched and compared anew, its whole content with it
WITH unlanded AS (
    FROM pull_request_observations
    WHERE confirmed_at > coalesce(content_observed_at, '-infinity')
      AND confirmed_version IS DISTINCT FROM version
      AND gone_at IS NULL
)
SELECT
    landed.repository,
    landed.number,
    coalesce(contents.id, inventory.id) AS node_id,
    format('version {} was confirmed at {}; landed {}',
        coalesce(landed.confirmed_version, 'none'), utc(landed.confirmed_at), coalesce(landed.version, 'none')) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    landed.confirmed_at AS evidence_at
FROM unlanded AS landed
LEFT JOIN (FROM pull_request_contents SEMI JOIN unlanded USING (repository, number)) AS contents
    USING (repository, number)
LEFT JOIN (FROM inventory SEMI JOIN unlanded USING (repository, number)) AS inventory USING (repository, number)

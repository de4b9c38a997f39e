-- code: behind_schema
-- severity: info
-- precedence: 100
-- gap: no
-- reason: it was fetched by an earlier version of this program, which asked for less or kept less of the answer
-- remedy: it is fetched in the background, the newest first, some at a time
SELECT
    contents.repository,
    contents.number,
    contents.id AS node_id,
    format('fetched by version {}, current is {}',
        coalesce(contents.fetch_version, 0), getvariable('fetch_version')) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    landed.observed_at AS evidence_at
FROM pull_request_contents AS contents
JOIN (
    FROM pull_request_observations
    SEMI JOIN (FROM pull_request_contents WHERE coalesce(fetch_version, 0) < getvariable('fetch_version'))
        USING (repository, number)
) AS landed USING (repository, number)
WHERE coalesce(contents.fetch_version, 0) < getvariable('fetch_version')
  AND landed.gone_at IS NULL
-- A new program would otherwise open a finding for each pull request there is.
ORDER BY contents.updated_at DESC
LIMIT 1000

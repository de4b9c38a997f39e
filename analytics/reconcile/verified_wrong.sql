-- code: verified_wrong
-- severity: warning
-- precedence: 65
-- reason: a verification read the pull request from GitHub again and found its rows to differ, and they were not written since
-- remedy: the pull request is fetched, and its rows are written anew
WITH newest AS (
    SELECT
        repository,
        number,
        max_by(run, observed_at) AS run,
        max_by(node_id, observed_at) AS node_id,
        max_by(differences, observed_at) AS differences,
        max(observed_at) AS observed_at
    FROM verifications
    GROUP BY repository, number
),
examples AS (
    SELECT
        run,
        repository,
        number,
        string_agg(DISTINCT concat_ws('.', table_name, column_name), ', '
            ORDER BY concat_ws('.', table_name, column_name)) AS fields
    FROM verification_differences
    GROUP BY run, repository, number
)
SELECT
    newest.repository,
    newest.number,
    newest.node_id,
    format('{} fields differ: {}', newest.differences, examples.fields) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    newest.observed_at AS evidence_at
FROM newest
LEFT JOIN examples USING (run, repository, number)
LEFT JOIN pull_request_observations AS landed USING (repository, number)
WHERE newest.differences > 0
  -- A later look that found the same version again wrote no rows.
  AND coalesce(landed.content_observed_at <= newest.observed_at, true)
  AND coalesce(landed.gone_at <= newest.observed_at, true)

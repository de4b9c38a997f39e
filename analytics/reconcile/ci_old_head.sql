-- code: ci_old_head
-- severity: warning
-- precedence: 52
-- pace: rotation
-- reason: a check counts as current and is of another commit than the landed head
-- remedy: the pull request is fetched, and its rows are written anew
SELECT
    checks.repository,
    checks.number,
    any_value(contents.id) AS node_id,
    format('{} checks are of {}; the head is {}',
        count(*), max(checks.head_ref_oid), any_value(contents.head_ref_oid)) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    max(checks.landed_at) AS evidence_at
FROM (SELECT * FROM check_runs SEMI JOIN checked USING (repository, number) WHERE superseded_at IS NULL) AS checks
JOIN pull_request_contents AS contents USING (repository, number)
WHERE checks.head_ref_oid <> contents.head_ref_oid
GROUP BY checks.repository, checks.number

-- CI of each open pull request at a glance.
CREATE OR REPLACE VIEW ci_by_pull_request AS
SELECT
    pull_requests.repository,
    pull_requests.number,
    any_value(pull_requests.title) AS title,
    any_value(pull_requests.head_ref_oid) AS head_ref_oid,
    any_value(pull_requests.checks_state) AS state,
    count(checks.id) AS checks,
    count(*) FILTER (coalesce(checks.conclusion, checks.status) IN ('SUCCESS', 'NEUTRAL', 'SKIPPED')) AS passed,
    count(*) FILTER (
        coalesce(checks.conclusion, checks.status)
            IN ('FAILURE', 'ERROR', 'TIMED_OUT', 'CANCELLED', 'ACTION_REQUIRED', 'STARTUP_FAILURE', 'STALE')
    ) AS failed,
    count(checks.id) - passed - failed AS running,
    coalesce(
        list(checks.name ORDER BY checks.name) FILTER (
            coalesce(checks.conclusion, checks.status) IN ('FAILURE', 'ERROR', 'TIMED_OUT', 'STARTUP_FAILURE')
        ),
        []
    ) AS failing,
    max(checks.completed_at) AS last_completed_at,
    any_value(pull_requests.observed_at) AS observed_at
FROM open_pull_requests AS pull_requests
LEFT JOIN current_checks AS checks USING (repository, number)
GROUP BY pull_requests.repository, pull_requests.number;
COMMENT ON VIEW ci_by_pull_request IS 'CI of the head of each open pull request, counted.';
COMMENT ON COLUMN ci_by_pull_request.repository IS 'owner/name.';
COMMENT ON COLUMN ci_by_pull_request.number IS 'Number of the pull request.';
COMMENT ON COLUMN ci_by_pull_request.title IS 'Title.';
COMMENT ON COLUMN ci_by_pull_request.head_ref_oid IS 'Head commit.';
COMMENT ON COLUMN ci_by_pull_request.state IS 'GitHub''s own summary: SUCCESS, FAILURE, PENDING, ERROR or EXPECTED; none when nothing reported.';
COMMENT ON COLUMN ci_by_pull_request.checks IS 'Check runs and status contexts that are here.';
COMMENT ON COLUMN ci_by_pull_request.passed IS 'Those that passed, were neutral or skipped.';
COMMENT ON COLUMN ci_by_pull_request.failed IS 'Those that failed, were cancelled or timed out.';
COMMENT ON COLUMN ci_by_pull_request.running IS 'Those that have not ended.';
COMMENT ON COLUMN ci_by_pull_request.failing IS 'Names of those that failed.';
COMMENT ON COLUMN ci_by_pull_request.last_completed_at IS 'When the last one ended.';
COMMENT ON COLUMN ci_by_pull_request.observed_at IS 'When the pull request was last observed.';

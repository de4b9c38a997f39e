-- code: ci_pending
-- severity: info
-- precedence: 110
-- gap: no
-- repair: none
-- reason: CI of an open pull request has been running for longer than [reconcile] ci_pending
-- remedy: none here: sweeps compare CI, so GitHub says so too; look at the run
WITH pending AS (
    SELECT repository, number, id, updated_at
    FROM pull_request_contents
    WHERE state = 'OPEN' AND checks_state IN ('PENDING', 'EXPECTED')
),
running AS (
    SELECT repository, number, min(started_at) AS started_at, count(*) AS runs
    FROM check_runs
    SEMI JOIN pending USING (repository, number)
    WHERE superseded_at IS NULL
      AND status <> 'COMPLETED'
      AND (kind = 'CheckRun' OR status IN ('PENDING', 'EXPECTED'))
    GROUP BY repository, number
)
SELECT
    pending.repository,
    pending.number,
    pending.id AS node_id,
    format('{} checks run since {}', coalesce(running.runs, 0),
        utc(coalesce(running.started_at, pending.updated_at))) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    landed.observed_at AS evidence_at
FROM pending
JOIN pull_request_observations AS landed USING (repository, number)
LEFT JOIN running USING (repository, number)
ANTI JOIN (FROM pull_request_observations WHERE gone_at IS NOT NULL) USING (repository, number)
-- What has not begun has no time of its own.
WHERE coalesce(running.started_at, pending.updated_at) < getvariable('now') - getvariable('ci_pending')

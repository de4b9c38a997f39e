-- code: ci_not_started
-- severity: warning
-- precedence: 112
-- gap: no
-- repair: none
-- reason: an open pull request has had the label that awaits CI for longer than [reconcile] ci_pending, and no check of its head is running
-- remedy: none here: sweeps compare labels and CI, so GitHub says so too; start CI, or take the label off
WITH awaiting AS (
    SELECT repository, number, id, updated_at, checks_state
    FROM pull_request_contents
    WHERE state = 'OPEN' AND list_contains(label_names, getvariable('awaiting_ci_label'))
),
labelled AS (
    SELECT repository, number, max(created_at) AS labelled_at
    FROM timeline_items
    SEMI JOIN awaiting USING (repository, number)
    WHERE kind = 'LabeledEvent' AND label = getvariable('awaiting_ci_label')
    GROUP BY repository, number
),
running AS (
    SELECT repository, number
    FROM check_runs
    SEMI JOIN awaiting USING (repository, number)
    WHERE superseded_at IS NULL
      AND status <> 'COMPLETED'
      AND (kind = 'CheckRun' OR status IN ('PENDING', 'EXPECTED'))
)
SELECT
    awaiting.repository,
    awaiting.number,
    awaiting.id AS node_id,
    format('labelled {} since {}; CI is {}', getvariable('awaiting_ci_label'),
        utc(coalesce(labelled.labelled_at, awaiting.updated_at)), coalesce(awaiting.checks_state, 'none')) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    landed.observed_at AS evidence_at
FROM awaiting
JOIN pull_request_observations AS landed USING (repository, number)
LEFT JOIN labelled USING (repository, number)
ANTI JOIN running USING (repository, number)
ANTI JOIN (FROM pull_request_observations WHERE gone_at IS NOT NULL) USING (repository, number)
WHERE coalesce(labelled.labelled_at, awaiting.updated_at) < getvariable('now') - getvariable('ci_pending')

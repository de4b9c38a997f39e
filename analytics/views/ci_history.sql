-- Every attempt of CI on every head. A run that is done again has a new id under the same name; what was
-- superseded together was one attempt. A commit status has a new id with each of its states: one that waited
-- and was followed by another is no attempt of its own.
CREATE OR REPLACE VIEW ci_history AS
WITH runs AS (
    -- A run that was gone from an answer and is back has a row for each; the newest tells.
    SELECT *
    FROM check_runs
    QUALIFY row_number() OVER (
        PARTITION BY repository, number, head_ref_oid, id
        ORDER BY superseded_at DESC NULLS FIRST, landed_at DESC
    ) = 1
),
ended AS (
    SELECT *
    FROM runs
    QUALIFY NOT (
        kind = 'StatusContext'
        AND status IN ('PENDING', 'EXPECTED')
        AND coalesce(superseded_at, 'infinity'::TIMESTAMP WITH TIME ZONE)
            < max(coalesce(superseded_at, 'infinity'::TIMESTAMP WITH TIME ZONE)) OVER (
                PARTITION BY repository, number, head_ref_oid, kind, name
            )
    )
),
attempts AS (
    SELECT
        *,
        dense_rank() OVER (
            PARTITION BY repository, number, head_ref_oid, kind, name ORDER BY superseded_at NULLS LAST
        ) AS attempt
    FROM ended
),
heads AS (
    SELECT repository, number, head_ref_oid FROM pull_requests
)
SELECT
    attempts.repository,
    attempts.number,
    attempts.head_ref_oid,
    heads.head_ref_oid IS NOT NULL AS is_current_head,
    attempts.kind,
    attempts.name,
    attempts.attempt,
    max(attempts.attempt) OVER same_name AS attempts,
    attempts.superseded_at IS NULL AS is_current,
    attempts.id,
    attempts.status,
    attempts.conclusion,
    lag(coalesce(attempts.conclusion, attempts.status)) OVER (
        same_name ORDER BY attempts.attempt, attempts.started_at, attempts.id
    ) AS previous,
    attempts.started_at,
    attempts.completed_at,
    (epoch_us(attempts.completed_at) - epoch_us(attempts.started_at)) / 1e6 AS seconds,
    attempts.superseded_at,
    attempts.url
FROM attempts
LEFT JOIN heads USING (repository, number, head_ref_oid)
WINDOW same_name AS (
    PARTITION BY attempts.repository, attempts.number, attempts.head_ref_oid, attempts.kind, attempts.name
);
COMMENT ON VIEW ci_history IS 'Every attempt of every check run and status context, by head commit.';
COMMENT ON COLUMN ci_history.repository IS 'owner/name.';
COMMENT ON COLUMN ci_history.number IS 'Number of the pull request.';
COMMENT ON COLUMN ci_history.head_ref_oid IS 'The commit it ran on.';
COMMENT ON COLUMN ci_history.is_current_head IS 'Whether the pull request still has that head.';
COMMENT ON COLUMN ci_history.kind IS 'CheckRun or StatusContext.';
COMMENT ON COLUMN ci_history.name IS 'Name of the check, or the status''s context.';
COMMENT ON COLUMN ci_history.attempt IS 'Which attempt under that name on that commit, from 1; what was superseded together is one, and so are the states of a status until it ends.';
COMMENT ON COLUMN ci_history.attempts IS 'How many there were.';
COMMENT ON COLUMN ci_history.is_current IS 'Whether it is the latest, and its head had not been left when it was seen.';
COMMENT ON COLUMN ci_history.id IS 'Node id; a re-run has a new one.';
COMMENT ON COLUMN ci_history.status IS 'COMPLETED, IN_PROGRESS, ... of a check run; the state of a status context. Of what was superseded, what it was last seen as.';
COMMENT ON COLUMN ci_history.conclusion IS 'How a check run ended.';
COMMENT ON COLUMN ci_history.previous IS 'How the one before it ended; null of the first.';
COMMENT ON COLUMN ci_history.started_at IS 'When a check run began, or a status was set.';
COMMENT ON COLUMN ci_history.completed_at IS 'When a check run ended.';
COMMENT ON COLUMN ci_history.seconds IS 'How long it ran.';
COMMENT ON COLUMN ci_history.superseded_at IS 'When it was first seen not to be current any more; null while it is.';
COMMENT ON COLUMN ci_history.url IS 'Where to read more.';

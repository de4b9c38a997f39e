-- Every job on every processor, and how it stands.
-- comments from: job_reports
CREATE OR REPLACE VIEW jobs AS
WITH runs AS (
    SELECT * FROM job_reports WHERE kind = 'workflow'
),
-- A process that was killed does not report its end: GitHub does of what runs there; of others a minute without
-- a word is known after five.
processes AS (
    SELECT
        own.job,
        own.kind,
        own.stage,
        own.lanes,
        CASE
            WHEN own.status <> 'running' THEN own.status
            WHEN runs.job IS NOT NULL THEN runs.status
            WHEN own.reported_at < now() - INTERVAL 5 MINUTE THEN 'lost'
            ELSE 'running'
        END AS status,
        CASE
            WHEN own.status <> 'running' THEN own.reason
            WHEN runs.job IS NOT NULL THEN coalesce(runs.reason, 'its workflow ended before it said so')
            WHEN own.reported_at < now() - INTERVAL 5 MINUTE THEN 'it has not been heard of'
            ELSE own.reason
        END AS reason,
        own.started_at,
        CASE
            WHEN own.status <> 'running' THEN own.finished_at
            WHEN runs.job IS NOT NULL THEN runs.finished_at
            -- When it was last heard of.
            WHEN own.reported_at < now() - INTERVAL 5 MINUTE THEN own.reported_at
        END AS finished_at,
        own.done,
        own.remaining,
        own.workflow_repository,
        own.workflow_run,
        own.workflow_attempt,
        own.workflow_url,
        own.reported_at
    FROM job_reports AS own
    LEFT JOIN runs USING (workflow_repository, workflow_run, workflow_attempt)
    WHERE own.kind <> 'workflow'
),
-- One that ended before any of its processes began.
unheard AS (
    SELECT * FROM runs
    ANTI JOIN processes USING (workflow_repository, workflow_run, workflow_attempt)
),
walks AS (
    SELECT
        'backfill:' || repository || ':' || backfill AS job,
        'backfill' AS kind,
        'detect-changes' AS stage,
        ['bulk'] AS lanes,
        CASE status
            WHEN 'active' THEN 'running'
            WHEN 'rate_limit_low' THEN 'running'
            WHEN 'replaced' THEN 'cancelled'
            ELSE status
        END AS status,
        CASE
            WHEN status = 'rate_limit_low' THEN 'rate_limit_low'
            WHEN status = 'replaced' THEN 'another one was started'
            ELSE coalesce(reason, last_error)
        END AS reason,
        started_at,
        CASE WHEN status IN ('completed', 'failed', 'replaced') THEN coalesce(completed_at, reported_at) END
            AS finished_at,
        done,
        CASE WHEN total IS NOT NULL THEN greatest(total - done, 0) END AS remaining,
        NULL::VARCHAR AS workflow_repository,
        NULL::BIGINT AS workflow_run,
        NULL::BIGINT AS workflow_attempt,
        NULL::VARCHAR AS workflow_url,
        reported_at
    FROM backfills
),
every_job AS (
    FROM processes
    UNION ALL BY NAME
    FROM unheard
    UNION ALL BY NAME
    FROM walks
)
SELECT
    job,
    kind,
    stage,
    CASE WHEN kind = 'stage' THEN 'realtime' ELSE 'bulk' END AS processor,
    lanes,
    status,
    reason,
    started_at,
    finished_at,
    done,
    remaining,
    workflow_repository,
    workflow_run,
    workflow_attempt,
    workflow_url,
    reported_at
FROM every_job;
COMMENT ON VIEW jobs IS 'Every job on every processor, and how it stands: processes of the stages, drains and the workflows that they run in, backfills.';
COMMENT ON COLUMN jobs.kind IS 'stage, drain, workflow or backfill.';
COMMENT ON COLUMN jobs.processor IS 'realtime, which is always on, or bulk, which may run now and then.';
COMMENT ON COLUMN jobs.status IS 'running, completed, incomplete (it ended and left something), failed, cancelled, paused (a backfill) or lost (it has not been heard of for five minutes).';
COMMENT ON COLUMN jobs.done IS 'Messages that it dealt with; pull requests of a backfill.';
COMMENT ON COLUMN jobs.remaining IS 'What it has left, or still has to do.';

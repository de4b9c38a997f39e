-- The newest backfill of each repository, with its progress and when it will be done.
-- comments from: backfills
CREATE OR REPLACE VIEW backfill_status AS
WITH newest AS (
    SELECT DISTINCT ON (repository) *
    FROM backfills
    ORDER BY repository, started_at DESC, backfill DESC
),
speed AS (
    SELECT
        repository,
        (done - run_done) / nullif(epoch(reported_at - run_started_at), 0) AS per_second
    FROM newest
)
SELECT
    newest.repository,
    newest.backfill,
    newest.status,
    newest.reason,
    newest.resume_at,
    newest.started_at,
    newest.walked_at,
    newest.completed_at,
    newest.processed,
    newest.total,
    newest.done,
    round(newest.done * 100.0 / nullif(newest.total, 0), 1) AS percent,
    newest.chunks_made,
    newest.chunks_completed,
    newest.chunks_failed,
    round(speed.per_second * 60, 1) AS per_minute,
    CASE WHEN newest.status = 'active' AND speed.per_second > 0
        THEN newest.reported_at + to_seconds(greatest(newest.total - newest.done, 0) / speed.per_second)
    END AS eta,
    newest.consecutive_errors,
    newest.last_error,
    newest.reported_at
FROM newest
JOIN speed USING (repository);
COMMENT ON VIEW backfill_status IS 'The newest backfill of each repository, with its progress and when it will be done.';
COMMENT ON COLUMN backfill_status.percent IS 'Share of the pull requests whose chunks are completed.';
COMMENT ON COLUMN backfill_status.per_minute IS 'Pull requests a minute, in the present run.';
COMMENT ON COLUMN backfill_status.eta IS 'When it will be done with if it goes on like this; null unless it is active and something is done.';

-- What went wrong in each backfill, in one row: how much, how bad, and under which codes. What was made good
-- since is a warning; what was not is critical: a message still set aside, a chunk that was given up, a walk
-- that cannot go on.
CREATE OR REPLACE VIEW backfill_errors AS
WITH runs AS (
    SELECT
        repository,
        backfill,
        status,
        started_at,
        completed_at,
        consecutive_errors,
        coalesce(
            completed_at,
            lead(started_at) OVER (PARTITION BY repository ORDER BY started_at, backfill),
            'infinity'
        ) AS until
    FROM backfills
),
still_open AS (
    SELECT DISTINCT message_id FROM open_quarantine
),
errors AS (
    SELECT
        runs.repository,
        runs.backfill,
        quarantine.code,
        quarantine.message_id IN (SELECT message_id FROM still_open) AS critical
    FROM runs
    JOIN quarantine
      ON quarantine.repository = runs.repository
     AND quarantine.quarantined_at >= runs.started_at
     AND quarantine.quarantined_at < runs.until
    UNION ALL
    SELECT
        repository,
        backfill,
        CASE WHEN status = 'failed' THEN 'chunk-failed' ELSE 'chunk-retried' END,
        status = 'failed'
    FROM backfill_chunks
    WHERE status = 'failed' OR retries > 0
    UNION ALL
    -- Failures in a row that are not over.
    SELECT repository, backfill, 'walk-broken-off', status IN ('failed', 'paused')
    FROM runs
    WHERE consecutive_errors > 0
),
by_code AS (
    SELECT repository, backfill, code, count(*) AS found, count(*) FILTER (critical) AS critical
    FROM errors
    GROUP BY repository, backfill, code
),
summed AS (
    SELECT
        repository,
        backfill,
        sum(found)::BIGINT AS total,
        sum(critical)::BIGINT AS critical,
        string_agg(format('{} {}', found, code), ', ' ORDER BY found DESC, code) AS codes
    FROM by_code
    GROUP BY repository, backfill
)
SELECT
    runs.repository,
    runs.backfill,
    runs.status,
    runs.started_at,
    runs.completed_at,
    coalesce(summed.total, 0) AS total,
    coalesce(summed.critical, 0) AS critical,
    coalesce(summed.total - summed.critical, 0) AS warnings,
    summed.codes
FROM runs
LEFT JOIN summed USING (repository, backfill);
COMMENT ON VIEW backfill_errors IS 'What went wrong in each backfill, one row each.';
COMMENT ON COLUMN backfill_errors.repository IS 'owner/name.';
COMMENT ON COLUMN backfill_errors.backfill IS 'Identity of the backfill.';
COMMENT ON COLUMN backfill_errors.status IS 'active, rate_limit_low, paused, completed, failed or replaced.';
COMMENT ON COLUMN backfill_errors.started_at IS 'When it began.';
COMMENT ON COLUMN backfill_errors.completed_at IS 'When its last chunk was done with.';
COMMENT ON COLUMN backfill_errors.total IS 'Errors in all: messages set aside while it went on, chunks asked for again or given up, failures of its walk.';
COMMENT ON COLUMN backfill_errors.critical IS 'Those that were not made good.';
COMMENT ON COLUMN backfill_errors.warnings IS 'Those that were.';
COMMENT ON COLUMN backfill_errors.codes IS 'How many of each code, the most frequent first; null without any.';

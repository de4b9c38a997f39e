-- code: stalled_backfill
-- severity: critical
-- precedence: 134
-- about: repository
-- gap: no
-- repair: none
-- reason: a backfill failed, or is said to go on and was not heard of for twice [detect] chunk_timeout
-- remedy: see `prmirror backfill`; when its cause is gone, resume it
SELECT
    repository,
    0 AS number,
    NULL::VARCHAR AS node_id,
    format('{} since {}: {}', status, utc(reported_at), coalesce(reason, last_error, 'no reason was told')) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    reported_at AS evidence_at
FROM backfill_status
WHERE status = 'failed'
   OR (status = 'active' AND reported_at < getvariable('now') - 2 * getvariable('chunk_timeout'))

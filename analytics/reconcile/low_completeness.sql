-- code: low_completeness
-- severity: warning
-- precedence: 136
-- pace: rotation
-- about: repository
-- gap: no
-- repair: none
-- reason: less than 95 percent of the known pull requests are landed and without an open finding
-- remedy: what is missing or differs is repaired one by one; a backfill begins by itself below 80 percent
SELECT
    standing.repository,
    0 AS number,
    NULL::VARCHAR AS node_id,
    format('{} of {} are right: {:.1f} %; {} missing, {} different, {} incomplete',
        round(standing.known * standing.percent / 100)::BIGINT, standing.known, standing.percent, standing.missing, standing.different, standing.incomplete) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    -- No observation of GitHub speaks against it.
    'epoch'::TIMESTAMP WITH TIME ZONE AS evidence_at
FROM completeness AS standing
LEFT JOIN backfill_status AS newest USING (repository)
WHERE standing.percent < 95
  -- Of fewer, a single one is more than five percent.
  AND standing.known >= 20
  -- While a repository is walked for the first time it fills up.
  AND coalesce(newest.status, 'completed') NOT IN ('active', 'rate_limit_low')

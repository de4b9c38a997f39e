-- code: unanswered
-- severity: warning
-- precedence: 124
-- about: repository
-- repair: none
-- reason: GitHub answers nothing that is asked about the repository: it is left alone for a while, and what is asked of it waits
-- remedy: none here: it is asked for again by itself, after pauses of up to a minute, and at once after `prmirror backfill resume`
SELECT
    repository,
    0 AS number,
    NULL::VARCHAR AS node_id,
    format('{} documents failed in a row since {}, and it is asked for again at {}: {} ({})',
        failures, utc(since), utc(until), reason, code) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    since AS evidence_at
FROM parked
WHERE failures > 0

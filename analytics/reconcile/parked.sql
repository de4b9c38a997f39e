-- code: parked
-- severity: critical
-- precedence: 122
-- about: repository
-- repair: none
-- reason: GitHub shows nothing of the repository to the token (forbidden, SAML, not found): nothing of it is fetched, and what is asked of it waits
-- remedy: see the page of the code that the reason ends with; it is asked for again by itself, and at once after `prmirror backfill resume`
SELECT
    repository,
    0 AS number,
    NULL::VARCHAR AS node_id,
    format('nothing of it is fetched since {}, and it is asked for again at {}: {} ({})',
        utc(since), utc(until), reason, code) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    since AS evidence_at
FROM parked
WHERE failures = 0

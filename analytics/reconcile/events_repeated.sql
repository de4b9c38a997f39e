-- code: events_repeated
-- severity: warning
-- precedence: 94
-- pace: rotation
-- reason: an event of the pull request is there more than once
-- remedy: the pull request is fetched, and its events are freed of repetitions
SELECT
    repository,
    number,
    NULL::VARCHAR AS node_id,
    format('{} events are there again', count(*) - count(DISTINCT id)) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    max(landed_at) AS evidence_at
FROM events
SEMI JOIN checked USING (repository, number)
GROUP BY repository, number
HAVING count(*) > count(DISTINCT id)

-- code: unexplained_gap
-- severity: info
-- precedence: 131
-- about: repository
-- gap: no
-- repair: none
-- pace: rotation
-- reason: an hour after a sweep of everything there are numbers that it did not show, and that nobody knows to be issues, deleted or never given: pull requests may be among them
-- remedy: GitHub is asked what they are, in `detect.numbers` documents an hour; a pull request among them is recorded, fetched, and missing until it has landed
WITH gaps AS (
    SELECT
        repository,
        swept_at,
        count(*) AS numbers,
        list(number ORDER BY number)[:10] AS first_ones
    FROM unexplained_numbers
    WHERE is_settled
    GROUP BY repository, swept_at
)
SELECT
    repository,
    0 AS number,
    NULL::VARCHAR AS node_id,
    format('{} numbers are unexplained: {}{}', numbers, array_to_string(first_ones, ', '),
        CASE WHEN numbers > 10 THEN ', ...' ELSE '' END) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    swept_at AS evidence_at
FROM gaps

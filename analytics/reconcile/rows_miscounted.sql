-- code: rows_miscounted
-- severity: warning
-- precedence: 82
-- pace: rotation
-- reason: a list has more or fewer rows than were landed of it, or is noted as whole and is shorter than its total
-- remedy: the pull request is fetched, and its rows are written anew
WITH counted AS (
    SELECT repository, number, collection, sum(rows)::BIGINT AS rows
    FROM collection_rows
    GROUP BY repository, number, collection
),
lists AS (
    SELECT * FROM collections SEMI JOIN checked USING (repository, number)
),
wrong AS (
    SELECT
        coalesce(lists.repository, counted.repository) AS repository,
        coalesce(lists.number, counted.number) AS number,
        CASE
            WHEN lists.collection IS NULL THEN format('{}: {} rows, none landed', counted.collection, counted.rows)
            WHEN lists.held <> coalesce(counted.rows, 0)
            THEN format('{}: {} rows, {} landed', lists.collection, coalesce(counted.rows, 0), lists.held)
            ELSE format('{}: whole with {} of {}', lists.collection, lists.held, lists.total)
        END AS found
    FROM lists
    FULL OUTER JOIN counted
        ON lists.repository = counted.repository
        AND lists.number = counted.number
        AND lists.collection = counted.collection
    WHERE lists.held IS DISTINCT FROM coalesce(counted.rows, 0)
       OR (lists.completeness = 'complete' AND lists.held <> lists.total)
)
SELECT
    wrong.repository,
    wrong.number,
    any_value(contents.id) AS node_id,
    string_agg(wrong.found, ', ' ORDER BY wrong.found) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    max(landed.landed_at) AS evidence_at
FROM wrong
-- Rows without their pull request are the business of another rule.
JOIN pull_request_contents AS contents USING (repository, number)
JOIN pull_request_observations AS landed USING (repository, number)
GROUP BY wrong.repository, wrong.number

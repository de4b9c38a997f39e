-- code: orphaned
-- severity: warning
-- precedence: 84
-- pace: rotation
-- reason: a list has rows of a pull request that has no content
-- remedy: the pull request is fetched, and its rows are written anew; of one that is gone they are removed
WITH held AS (
    SELECT repository, number, collection, sum(rows)::BIGINT AS rows
    FROM (
        -- What has no pull request is no pull request's turn: the range of numbers decides.
        SELECT * FROM collection_rows_in_range
        UNION ALL
        SELECT * FROM collection_rows
        WHERE number NOT BETWEEN getvariable('from_number') AND getvariable('to_number')
    )
    GROUP BY repository, number, collection
)
SELECT
    held.repository,
    held.number,
    NULL::VARCHAR AS node_id,
    string_agg(format('{}: {} rows', held.collection, held.rows), ', ' ORDER BY held.collection) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    -- No observation of GitHub speaks against it.
    'epoch'::TIMESTAMP WITH TIME ZONE AS evidence_at
FROM held
ANTI JOIN pull_request_contents USING (repository, number)
GROUP BY held.repository, held.number

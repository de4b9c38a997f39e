-- code: rows_altered
-- severity: warning
-- precedence: 86
-- pace: rotation
-- reason: the rows are not those that were landed: their digest is another one than was noted when they were written, or what was noted is gone
-- remedy: the pull request is fetched, and its rows are written anew
WITH found AS (
    SELECT repository, number, (sum(digest) % 9223372036854775807)::BIGINT AS digest
    FROM row_digests
    GROUP BY repository, number
)
SELECT
    contents.repository,
    contents.number,
    -- By number: the id may be what was altered.
    NULL::VARCHAR AS node_id,
    format('version {} does not have the digest that it was landed with', contents.version) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    landed.landed_at AS evidence_at
FROM found
JOIN pull_request_contents AS contents USING (repository, number)
JOIN pull_request_observations AS landed USING (repository, number)
WHERE contents.rows_digest <> found.digest
   -- Whoever notes by which version a content was fetched notes its digest as well; before that nothing was noted.
   OR (contents.rows_digest IS NULL AND contents.fetch_version > 0)

-- code: incomplete
-- severity: warning
-- precedence: 80
-- reason: a list of the landed pull request is known not to be whole, and is shorter than GitHub would tell
-- remedy: the pull request is fetched again, with every page of its lists
WITH incomplete AS (
    SELECT repository, number, id, updated_at FROM pull_request_contents WHERE NOT is_complete
),
lists AS (
    SELECT
        repository,
        number,
        string_agg(
            format('{} {} ({} of {})', collection, completeness, held, coalesce(total::VARCHAR, '?')),
            ', ' ORDER BY collection
        ) AS found
    FROM collections
    SEMI JOIN incomplete USING (repository, number)
    -- Asking again for what GitHub never tells would bring nothing, for ever.
    ANTI JOIN capped_lists USING (repository, number, collection)
    WHERE completeness <> 'complete'
    GROUP BY repository, number
)
SELECT
    contents.repository,
    contents.number,
    contents.id AS node_id,
    lists.found AS reason,
    contents.updated_at AS changed_at,
    landed.observed_at AS evidence_at
FROM incomplete AS contents
JOIN pull_request_observations AS landed USING (repository, number)
JOIN lists USING (repository, number)
ANTI JOIN (FROM pull_request_observations WHERE gone_at IS NOT NULL) USING (repository, number)

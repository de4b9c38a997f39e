-- code: duplicated
-- severity: critical
-- precedence: 90
-- pace: rotation
-- reason: a table of what is current has several rows for one pull request: the writer failed to keep it unique
-- remedy: the pull request is fetched, and its rows are written anew; those of the inventory are by the next sweep; report it, with the log of the publish stage
WITH contents AS (
    SELECT repository, number, any_value(id) AS node_id, max(updated_at) AS updated_at, count(*) AS rows
    FROM pull_request_contents
    SEMI JOIN checked USING (repository, number)
    GROUP BY repository, number
    HAVING count(*) > 1
),
observations AS (
    SELECT repository, number, count(*) AS rows, max(observed_at) AS observed_at
    FROM pull_request_observations
    SEMI JOIN checked USING (repository, number)
    GROUP BY repository, number
    HAVING count(*) > 1
),
listed AS (
    SELECT repository, number, any_value(id) AS node_id, count(*) AS rows, max(observed_at) AS observed_at
    FROM (
        -- What has not landed is no pull request's turn: the range of numbers decides.
        FROM inventory
        WHERE number BETWEEN getvariable('from_number') AND getvariable('to_number')
        UNION ALL
        (FROM inventory SEMI JOIN checked USING (repository, number)
         WHERE number NOT BETWEEN getvariable('from_number') AND getvariable('to_number'))
    )
    GROUP BY repository, number
    HAVING count(*) > 1
)
SELECT
    repository,
    number,
    coalesce(contents.node_id, listed.node_id) AS node_id,
    format('{} contents, {} observations, {} in the inventory',
        coalesce(contents.rows, 1), coalesce(observations.rows, 1), coalesce(listed.rows, 1)) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    coalesce(
        observations.observed_at,
        (SELECT max(landed.observed_at) FROM pull_request_observations AS landed
         WHERE landed.repository = contents.repository AND landed.number = contents.number),
        contents.updated_at,
        listed.observed_at
    ) AS evidence_at
FROM contents
FULL OUTER JOIN observations USING (repository, number)
FULL OUTER JOIN listed USING (repository, number)

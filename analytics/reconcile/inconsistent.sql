-- code: inconsistent
-- severity: warning
-- precedence: 12
-- reason: what is landed contradicts itself: the content and the note of its observation are of different versions, or one of them is not there
-- remedy: the pull request is fetched, and its rows are written anew
-- The two are compared by hashes: of millions the texts would not fit into memory. Nor need all of these be
-- looked up: where the sums agree, of 64 numbers each, there is nothing to look for.
WITH all_ours AS NOT MATERIALIZED (
    SELECT repository, number, number >> 6 AS block, hash(number, version, updated_at) AS key
    FROM pull_request_contents
),
all_noted AS NOT MATERIALIZED (
    SELECT repository, number, number >> 6 AS block, hash(number, version, content_updated_at) AS key
    FROM pull_request_observations
    WHERE version IS NOT NULL
),
doubtful AS (
    SELECT repository, block
    FROM (SELECT repository, block, sum(key) AS keys FROM all_ours GROUP BY repository, block) AS ours
    FULL OUTER JOIN (SELECT repository, block, sum(key) AS keys FROM all_noted GROUP BY repository, block) AS noted
        USING (repository, block)
    WHERE ours.keys IS DISTINCT FROM noted.keys
),
ours AS (
    FROM all_ours SEMI JOIN doubtful USING (repository, block)
),
noted AS (
    FROM all_noted SEMI JOIN doubtful USING (repository, block)
),
wrong AS (
    SELECT repository, number FROM ours ANTI JOIN noted USING (repository, number, key)
    UNION
    SELECT repository, number FROM noted ANTI JOIN ours USING (repository, number, key)
),
contents AS (
    FROM pull_request_contents SEMI JOIN wrong USING (repository, number)
),
landed AS (
    FROM (FROM pull_request_observations WHERE version IS NOT NULL) SEMI JOIN wrong USING (repository, number)
)
SELECT
    wrong.repository,
    wrong.number,
    contents.id AS node_id,
    CASE
        WHEN landed.number IS NULL THEN 'the content has no observation'
        WHEN contents.number IS NULL THEN format('version {} was landed; its content is not here', landed.version)
        WHEN contents.version IS DISTINCT FROM landed.version
        THEN format('the content is version {}, the observation of {}', contents.version, coalesce(landed.version, 'none'))
        ELSE format('the content was updated at {}, the observation says {}',
            utc(contents.updated_at), coalesce(utc(landed.content_updated_at), 'nothing'))
    END AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    coalesce(landed.observed_at, contents.updated_at) AS evidence_at
FROM wrong
LEFT JOIN contents USING (repository, number)
LEFT JOIN landed USING (repository, number)

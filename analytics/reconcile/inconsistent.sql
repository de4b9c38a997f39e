-- code: inconsistent
-- severity: warning
-- precedence: 12
-- reason: what is landed contradicts itself: the content and the note of its observation are of different versions, or one of them is not there
-- remedy: the pull request is fetched, and its rows are written anew
-- The two are compared by hashes: of millions the texts would not fit into memory.
WITH ours AS (
    SELECT repository, number, hash(repository, number, version, updated_at) AS key FROM pull_request_contents
),
noted AS (
    SELECT repository, number, hash(repository, number, version, content_updated_at) AS key
    FROM pull_request_observations
    WHERE version IS NOT NULL
),
wrong AS (
    SELECT repository, number FROM ours ANTI JOIN noted USING (key)
    UNION
    SELECT repository, number FROM noted ANTI JOIN ours USING (key)
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

-- code: inconsistent
-- severity: warning
-- precedence: 12
-- reason: what is landed contradicts itself: the content and the note of its observation are of different versions, or one of them is not there
-- remedy: the pull request is fetched, and its rows are written anew
SELECT
    coalesce(contents.repository, landed.repository) AS repository,
    coalesce(contents.number, landed.number) AS number,
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
FROM pull_request_contents AS contents
FULL OUTER JOIN (SELECT * FROM pull_request_observations WHERE version IS NOT NULL) AS landed
    ON contents.repository = landed.repository AND contents.number = landed.number
WHERE contents.version IS DISTINCT FROM landed.version
   OR contents.updated_at IS DISTINCT FROM landed.content_updated_at

-- code: version_order
-- severity: warning
-- precedence: 92
-- pace: rotation
-- reason: the history of the pull request has a version twice, or does not end with the landed one
-- remedy: the pull request is fetched; its history is freed of repetitions and ends with what came
WITH versions AS (
    SELECT * FROM version_log SEMI JOIN checked USING (repository, number) WHERE kind <> 'gone'
),
histories AS (
    SELECT
        repository,
        number,
        count(*) - count(DISTINCT (version, observed_at)) AS repetitions,
        -- As landing decides which content is current: by GitHub's time, then by ours.
        max_by(version, (updated_at, observed_at, version)) AS newest_version,
        max(landed_at) AS landed_at
    FROM versions
    GROUP BY repository, number
)
SELECT
    contents.repository,
    contents.number,
    contents.id AS node_id,
    CASE
        WHEN histories.repetitions > 0 THEN format('{} versions are in the history again', histories.repetitions)
        ELSE format('the newest version of the history is {}; landed {}',
            coalesce(histories.newest_version, 'none'), contents.version)
    END AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    landed.landed_at AS evidence_at
FROM (SELECT * FROM pull_request_contents SEMI JOIN checked USING (repository, number)) AS contents
JOIN pull_request_observations AS landed USING (repository, number)
LEFT JOIN histories USING (repository, number)
WHERE histories.repetitions > 0
   OR histories.newest_version IS DISTINCT FROM contents.version

-- Every commit that each pull request had since it was first seen, those that a force-push took away too.
CREATE OR REPLACE VIEW commit_history AS
WITH changes AS (
    SELECT repository, number, observed_at, unnest(CAST(data->'$.added' AS VARCHAR[])) AS oid, true AS is_added
    FROM events
    WHERE kind = 'commits_changed'
    UNION ALL
    SELECT repository, number, observed_at, unnest(CAST(data->'$.removed' AS VARCHAR[])), false
    FROM events
    WHERE kind = 'commits_changed'
),
history AS (
    SELECT
        repository,
        number,
        oid,
        min(observed_at) FILTER (is_added) AS added_at,
        max(observed_at) FILTER (NOT is_added) AS removed_at
    FROM changes
    GROUP BY repository, number, oid
)
SELECT
    coalesce(commits.repository, history.repository) AS repository,
    coalesce(commits.number, history.number) AS number,
    coalesce(commits.oid, history.oid) AS oid,
    commits.message_headline,
    history.added_at,
    -- What came back is there.
    CASE WHEN commits.oid IS NULL THEN history.removed_at END AS removed_at
FROM history
FULL OUTER JOIN commits
    ON commits.repository = history.repository AND commits.number = history.number AND commits.oid = history.oid;
COMMENT ON VIEW commit_history IS 'Every commit that each pull request had since it was first seen: those of now, and those that a force-push took away.';
COMMENT ON COLUMN commit_history.repository IS 'owner/name.';
COMMENT ON COLUMN commit_history.number IS 'Number of the pull request.';
COMMENT ON COLUMN commit_history.oid IS 'The commit.';
COMMENT ON COLUMN commit_history.message_headline IS 'First line of its message; null of one that is no longer there.';
COMMENT ON COLUMN commit_history.added_at IS 'When it was first seen; null when it was there from the beginning.';
COMMENT ON COLUMN commit_history.removed_at IS 'When it was seen to be no longer there; null when it is there.';

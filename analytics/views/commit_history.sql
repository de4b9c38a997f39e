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
),
-- What was told of each when it was taken away; of one that was taken away twice, the last time.
told AS (
    SELECT repository, number, observed_at, unnest(CAST(data->'$.removed_commits' AS JSON[])) AS told
    FROM events
    WHERE kind = 'commits_changed'
),
removed AS (
    SELECT repository, number, told->>'$.oid' AS oid, max_by(told, observed_at) AS told
    FROM told
    GROUP BY ALL
),
texts AS (
    SELECT
        repository, number, oid, message_headline, author_name, author_login, authored_date, committed_date,
        additions, deletions, true AS is_there
    FROM commits
    UNION ALL
    SELECT
        repository, number, oid, told->>'$.message_headline', told->>'$.author_name', told->>'$.author_login',
        CAST(told->>'$.authored_date' AS TIMESTAMP WITH TIME ZONE),
        CAST(told->>'$.committed_date' AS TIMESTAMP WITH TIME ZONE),
        CAST(told->>'$.additions' AS BIGINT), CAST(told->>'$.deletions' AS BIGINT), false
    FROM removed
    ANTI JOIN commits USING (repository, number, oid)
)
SELECT
    repository,
    number,
    oid,
    texts.message_headline,
    texts.author_name,
    texts.author_login,
    texts.authored_date,
    texts.committed_date,
    texts.additions,
    texts.deletions,
    history.added_at,
    -- What came back is there.
    CASE WHEN NOT coalesce(texts.is_there, false) THEN history.removed_at END AS removed_at
FROM texts
FULL OUTER JOIN history USING (repository, number, oid);
COMMENT ON VIEW commit_history IS 'Every commit that each pull request had since it was first seen: those of now, and those that a force-push took away, as they were.';
COMMENT ON COLUMN commit_history.repository IS 'owner/name.';
COMMENT ON COLUMN commit_history.number IS 'Number of the pull request.';
COMMENT ON COLUMN commit_history.oid IS 'The commit.';
COMMENT ON COLUMN commit_history.message_headline IS 'First line of its message; null of one that was taken away before that was kept.';
COMMENT ON COLUMN commit_history.author_name IS 'Name in the commit.';
COMMENT ON COLUMN commit_history.author_login IS 'Login of the author, when GitHub knows whose address it is.';
COMMENT ON COLUMN commit_history.authored_date IS 'When it was written, as its author''s clock said.';
COMMENT ON COLUMN commit_history.committed_date IS 'When it was committed, likewise.';
COMMENT ON COLUMN commit_history.additions IS 'Added lines.';
COMMENT ON COLUMN commit_history.deletions IS 'Deleted lines.';
COMMENT ON COLUMN commit_history.added_at IS 'When it was first seen; null when it was there from the beginning.';
COMMENT ON COLUMN commit_history.removed_at IS 'When it was seen to be no longer there; null when it is there.';

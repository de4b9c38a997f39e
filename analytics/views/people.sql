-- Everyone who appears in the mirror, with what they did. A person seen for the first time is simply
-- here.
CREATE OR REPLACE VIEW people AS
WITH acts AS (
    SELECT repository, author AS login, 'pull_request' AS act, created_at AS acted_at FROM pull_request_contents
    UNION ALL
    SELECT repository, merged_by, 'merge', merged_at FROM pull_request_contents
    UNION ALL
    SELECT repository, author, 'review', submitted_at FROM reviews
    UNION ALL
    SELECT repository, author, 'comment', created_at FROM comments
    UNION ALL
    SELECT repository, author, 'comment', created_at FROM review_comments
    UNION ALL
    SELECT repository, author_login, 'commit', committed_date FROM commits
    UNION ALL
    SELECT repository, login, 'assignment', NULL FROM assignees
    UNION ALL
    SELECT repository, actor, 'timeline', created_at FROM timeline_items
)
SELECT
    login,
    count(DISTINCT repository) AS repositories,
    count(*) FILTER (act = 'pull_request') AS pull_requests,
    count(*) FILTER (act = 'merge') AS merges,
    count(*) FILTER (act = 'review') AS reviews,
    count(*) FILTER (act = 'comment') AS comments,
    count(*) FILTER (act = 'commit') AS commits,
    count(*) FILTER (act = 'assignment') AS assignments,
    min(acted_at) AS first_seen_at,
    max(acted_at) AS last_seen_at
FROM acts
WHERE login IS NOT NULL
GROUP BY login;
COMMENT ON VIEW people IS 'Everyone who appears in the mirror, one row a login.';
COMMENT ON COLUMN people.login IS 'Login.';
COMMENT ON COLUMN people.repositories IS 'Repositories they appear in.';
COMMENT ON COLUMN people.pull_requests IS 'Pull requests they opened.';
COMMENT ON COLUMN people.merges IS 'Pull requests they merged.';
COMMENT ON COLUMN people.reviews IS 'Reviews they gave.';
COMMENT ON COLUMN people.comments IS 'Comments they wrote, those in review threads included.';
COMMENT ON COLUMN people.commits IS 'Commits in current heads that GitHub knows to be theirs.';
COMMENT ON COLUMN people.assignments IS 'Pull requests they are assigned to.';
COMMENT ON COLUMN people.first_seen_at IS 'The earliest of these acts.';
COMMENT ON COLUMN people.last_seen_at IS 'The latest of these acts.';

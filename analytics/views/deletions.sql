-- What was there and was deleted on GitHub: its tombstones.
CREATE OR REPLACE VIEW deletions AS
SELECT
    repository,
    number,
    CASE kind
        WHEN 'comment_deleted' THEN 'comment'
        WHEN 'review_deleted' THEN 'review'
        WHEN 'thread_deleted' THEN 'thread'
        WHEN 'head_deleted' THEN 'head branch'
        ELSE 'pull request'
    END AS what,
    CASE kind
        WHEN 'comment_deleted' THEN data->>'$.comment'
        WHEN 'review_deleted' THEN data->>'$.review'
        WHEN 'thread_deleted' THEN data->>'$.thread'
    END AS id,
    occurred_at,
    observed_at,
    actor
FROM events
WHERE kind IN ('comment_deleted', 'review_deleted', 'thread_deleted', 'head_deleted', 'gone');
COMMENT ON VIEW deletions IS 'What was there and was deleted on GitHub.';
COMMENT ON COLUMN deletions.repository IS 'owner/name.';
COMMENT ON COLUMN deletions.number IS 'Number of the pull request.';
COMMENT ON COLUMN deletions.what IS 'comment, review, thread, head branch or pull request.';
COMMENT ON COLUMN deletions.id IS 'Node id of the comment, review or thread.';
COMMENT ON COLUMN deletions.occurred_at IS 'When it was deleted, as far as GitHub tells; else when that was observed.';
COMMENT ON COLUMN deletions.observed_at IS 'When GitHub was asked.';
COMMENT ON COLUMN deletions.actor IS 'Login of who did it, when known.';

-- How fast and how well GitHub answers about each repository: what decides how large the chunks of its
-- backfill are, and how much of it may be under way.
CREATE OR REPLACE VIEW repository_pace AS
WITH newest AS (
    SELECT
        repository,
        outcome,
        row_number() OVER (PARTITION BY repository ORDER BY sent_at DESC) AS place
    FROM api_cost
    WHERE stage = 'fetch-pr' AND pull_requests > 0 AND sent_at > now() - INTERVAL 1 HOUR
      -- Having to wait says nothing of what was asked for.
      AND outcome NOT IN ('github-rate-limited', 'github-secondary-limit')
),
outcomes AS (
    SELECT repository, count(*) AS requests, count(*) FILTER (outcome <> 'ok') AS failed
    FROM newest
    WHERE place <= 30
    GROUP BY repository
),
fetched AS (
    SELECT repository, sum(elapsed_ms) / sum(pull_requests) AS millis_each
    FROM api_cost
    WHERE stage = 'fetch-pr' AND outcome = 'ok' AND sent_at > now() - INTERVAL 1 DAY
    GROUP BY repository
    HAVING sum(pull_requests) >= 100
)
SELECT
    repository,
    coalesce(outcomes.requests, 0) AS requests,
    coalesce(outcomes.failed, 0) AS failed,
    CASE WHEN outcomes.requests >= 5
        THEN round(outcomes.failed * 100.0 / outcomes.requests, 1)
    END AS failed_percent,
    round(fetched.millis_each, 1) AS millis_each
FROM outcomes
FULL JOIN fetched USING (repository);
COMMENT ON VIEW repository_pace IS 'How fast and how well GitHub answers about each repository.';
COMMENT ON COLUMN repository_pace.repository IS 'owner/name.';
COMMENT ON COLUMN repository_pace.requests IS 'Requests for pull requests within an hour, the newest 30; those that met a rate limit left out.';
COMMENT ON COLUMN repository_pace.failed IS 'Those of them that failed.';
COMMENT ON COLUMN repository_pace.failed_percent IS 'Their share; null of fewer than five requests.';
COMMENT ON COLUMN repository_pace.millis_each IS 'How long GitHub took for a pull request within a day, further pages included; null of fewer than a hundred.';

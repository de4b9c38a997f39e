-- What each repository costs, by hour. A probe asks up to 50 repositories at once: its cost is divided
-- equally among them.
CREATE OR REPLACE VIEW api_cost_by_repository AS
WITH parts AS (
    SELECT
        *,
        greatest(len(coalesce(shared_by, [])), 1) AS sharers,
        unnest(CASE WHEN len(coalesce(shared_by, [])) > 0 THEN shared_by ELSE [repository] END) AS sharer
    FROM api_cost
)
SELECT
    date_trunc('hour', sent_at) AS hour,
    sharer AS repository,
    stage,
    lane,
    operation,
    count(*) AS requests,
    round(coalesce(sum(points / sharers), 0), 3) AS points,
    round(coalesce(sum(wasted / sharers), 0), 3) AS points_wasted,
    sum(pull_requests)::BIGINT AS pull_requests
FROM parts
GROUP BY ALL;
COMMENT ON VIEW api_cost_by_repository IS 'What each repository costs, by hour; the cost of a request for several is divided equally among them.';
COMMENT ON COLUMN api_cost_by_repository.hour IS 'Beginning of the hour.';
COMMENT ON COLUMN api_cost_by_repository.repository IS 'owner/name.';
COMMENT ON COLUMN api_cost_by_repository.stage IS 'The stage that asked.';
COMMENT ON COLUMN api_cost_by_repository.lane IS 'The queue it worked for; polls and sweeps belong to none.';
COMMENT ON COLUMN api_cost_by_repository.operation IS 'Name of the GraphQL operation, or method and path.';
COMMENT ON COLUMN api_cost_by_repository.requests IS 'Requests that asked about it, alone or with others.';
COMMENT ON COLUMN api_cost_by_repository.points IS 'Its part of the points, as far as the answers told.';
COMMENT ON COLUMN api_cost_by_repository.points_wasted IS 'Its part of the points spent in vain: what failed requests are taken to have cost, beside those, and of those the part of what could not be read.';
COMMENT ON COLUMN api_cost_by_repository.pull_requests IS 'Pull requests asked about.';

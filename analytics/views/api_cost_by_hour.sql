-- What GitHub was asked, and what it cost, by hour.
CREATE OR REPLACE VIEW api_cost_by_hour AS
SELECT
    date_trunc('hour', sent_at) AS hour,
    token,
    repository,
    stage,
    lane,
    operation,
    count(*) AS requests,
    count(*) FILTER (outcome <> 'ok') AS failed,
    coalesce(sum(points), 0)::BIGINT AS points,
    coalesce(sum(wasted), 0)::BIGINT AS points_wasted,
    sum(pull_requests)::BIGINT AS pull_requests,
    sum(bytes)::BIGINT AS bytes,
    quantile_cont(elapsed_ms, 0.5) AS p50_ms,
    max(elapsed_ms) AS max_ms
FROM api_cost
GROUP BY ALL;
COMMENT ON VIEW api_cost_by_hour IS 'What GitHub was asked, and what it cost, by hour.';
COMMENT ON COLUMN api_cost_by_hour.hour IS 'Beginning of the hour.';
COMMENT ON COLUMN api_cost_by_hour.token IS 'Which token, as the first 8 digits of its digest.';
COMMENT ON COLUMN api_cost_by_hour.repository IS 'owner/name; of requests for several, the first: api_cost_by_repository divides their cost.';
COMMENT ON COLUMN api_cost_by_hour.stage IS 'The stage that asked.';
COMMENT ON COLUMN api_cost_by_hour.lane IS 'The queue it worked for; polls and sweeps belong to none.';
COMMENT ON COLUMN api_cost_by_hour.operation IS 'Name of the GraphQL operation, or method and path.';
COMMENT ON COLUMN api_cost_by_hour.requests IS 'Requests.';
COMMENT ON COLUMN api_cost_by_hour.failed IS 'Those that went wrong.';
COMMENT ON COLUMN api_cost_by_hour.points IS 'Points, as far as the answers told.';
COMMENT ON COLUMN api_cost_by_hour.points_wasted IS 'Points spent in vain: what failed requests are taken to have cost, beside those, and of those the part of what could not be read.';
COMMENT ON COLUMN api_cost_by_hour.pull_requests IS 'Pull requests asked about.';
COMMENT ON COLUMN api_cost_by_hour.bytes IS 'Bytes of the answers.';
COMMENT ON COLUMN api_cost_by_hour.p50_ms IS 'Half of the answers took at most this long.';
COMMENT ON COLUMN api_cost_by_hour.max_ms IS 'The longest.';

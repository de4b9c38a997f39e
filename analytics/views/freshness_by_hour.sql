-- From the change on GitHub to the table, as percentiles, for each hour in which versions landed.
CREATE OR REPLACE VIEW freshness_by_hour AS
SELECT
    repository,
    date_trunc('hour', landed_at) AS hour,
    count(*) AS versions,
    count(*) FILTER (is_measured) AS measured,
    quantile_cont(total_seconds, 0.5) FILTER (is_measured) AS p50_seconds,
    quantile_cont(total_seconds, 0.9) FILTER (is_measured) AS p90_seconds,
    quantile_cont(total_seconds, 0.99) FILTER (is_measured) AS p99_seconds,
    max(total_seconds) FILTER (is_measured) AS max_seconds
FROM freshness
GROUP BY repository, hour;
COMMENT ON VIEW freshness_by_hour IS 'From the change on GitHub to the table, as percentiles, for each hour.';
COMMENT ON COLUMN freshness_by_hour.repository IS 'owner/name.';
COMMENT ON COLUMN freshness_by_hour.hour IS 'Beginning of the hour in which they landed.';
COMMENT ON COLUMN freshness_by_hour.versions IS 'Versions that landed in it.';
COMMENT ON COLUMN freshness_by_hour.measured IS 'Those of which the time of the change is known; the rest of the row is about them.';
COMMENT ON COLUMN freshness_by_hour.p50_seconds IS 'Half of them took at most this long.';
COMMENT ON COLUMN freshness_by_hour.p90_seconds IS 'Nine of ten took at most this long.';
COMMENT ON COLUMN freshness_by_hour.p99_seconds IS 'All but one in a hundred took at most this long.';
COMMENT ON COLUMN freshness_by_hour.max_seconds IS 'The longest.';

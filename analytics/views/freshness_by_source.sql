-- From the change on GitHub to the table, as percentiles, for each source that notices changes.
CREATE OR REPLACE VIEW freshness_by_source AS
SELECT
    repository,
    source,
    count(*) AS versions,
    count(*) FILTER (is_measured) AS measured,
    quantile_cont(total_seconds, 0.5) FILTER (is_measured) AS p50_seconds,
    quantile_cont(total_seconds, 0.9) FILTER (is_measured) AS p90_seconds,
    quantile_cont(total_seconds, 0.99) FILTER (is_measured) AS p99_seconds,
    max(total_seconds) FILTER (is_measured) AS max_seconds
FROM freshness
GROUP BY repository, source;
COMMENT ON VIEW freshness_by_source IS 'From the change on GitHub to the table, as percentiles, for each source.';
COMMENT ON COLUMN freshness_by_source.repository IS 'owner/name.';
COMMENT ON COLUMN freshness_by_source.source IS 'What noticed the changes: webhook, poll, sweep, backfill, request, finding or recheck.';
COMMENT ON COLUMN freshness_by_source.versions IS 'Versions that it brought.';
COMMENT ON COLUMN freshness_by_source.measured IS 'Those of which the time of the change is known; the rest of the row is about them.';
COMMENT ON COLUMN freshness_by_source.p50_seconds IS 'Half of them took at most this long.';
COMMENT ON COLUMN freshness_by_source.p90_seconds IS 'Nine of ten took at most this long.';
COMMENT ON COLUMN freshness_by_source.p99_seconds IS 'All but one in a hundred took at most this long.';
COMMENT ON COLUMN freshness_by_source.max_seconds IS 'The longest.';

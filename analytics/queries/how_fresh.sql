-- From the change on GitHub to the table, by what noticed it.
SELECT source, versions, round(p50_seconds, 1) AS p50, round(p90_seconds, 1) AS p90, round(max_seconds, 1) AS worst
FROM freshness_by_source
ORDER BY repository, source;

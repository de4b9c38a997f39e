-- What each source was the first to find. An event belongs to the version it was first seen in, and a
-- version to the sign of change that led to it.
CREATE OR REPLACE VIEW found_first AS
WITH found AS (
    SELECT
        events.repository,
        events.kind,
        versions.source,
        -- What was there before the mirror was came from no source in time.
        CASE
            WHEN versions.source <> 'backfill'
            THEN (epoch_us(events.landed_at) - epoch_us(events.occurred_at)) / 1e6
        END AS seconds
    FROM events
    JOIN version_log AS versions
      ON versions.repository = events.repository
     AND versions.number = events.number
     AND versions.version = events.version
     AND versions.observed_at = events.observed_at
)
SELECT
    repository,
    kind,
    source,
    count(*) AS events,
    round(100 * count(*) / sum(count(*)) OVER (PARTITION BY repository, kind), 1) AS percent,
    quantile_cont(seconds, 0.5) AS p50_seconds,
    max(seconds) AS max_seconds
FROM found
GROUP BY repository, kind, source;
COMMENT ON VIEW found_first IS 'Which source was the first to find what, by kind of event.';
COMMENT ON COLUMN found_first.repository IS 'owner/name.';
COMMENT ON COLUMN found_first.kind IS 'What happened: labeled, ci_failed, ...';
COMMENT ON COLUMN found_first.source IS 'What noticed it first: webhook, poll, sweep, backfill, request, finding or recheck.';
COMMENT ON COLUMN found_first.events IS 'How many it found first.';
COMMENT ON COLUMN found_first.percent IS 'Of all of that kind.';
COMMENT ON COLUMN found_first.p50_seconds IS 'Half of them were in the table at most this long after they happened; null of what a backfill brought.';
COMMENT ON COLUMN found_first.max_seconds IS 'The longest.';

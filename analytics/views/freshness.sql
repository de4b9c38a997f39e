-- How long each version took from GitHub to its table. What was there before the mirror was, or is brought by
-- a backfill, is old when it is first seen, and a version of which nothing tells the time is as old as its
-- being noticed: none of these is measured.
CREATE OR REPLACE VIEW freshness AS
WITH mirrors AS (
    SELECT repository, min(observed_at) AS begun_at FROM version_log GROUP BY repository
)
SELECT
    repository,
    number,
    version,
    kind,
    source,
    lane,
    changed_at,
    changed_by,
    noticed_at,
    observed_at,
    landed_at,
    (epoch_us(noticed_at) - epoch_us(changed_at)) / 1e6 AS to_noticed_seconds,
    (epoch_us(observed_at) - epoch_us(noticed_at)) / 1e6 AS to_observed_seconds,
    (epoch_us(landed_at) - epoch_us(observed_at)) / 1e6 AS to_landed_seconds,
    (epoch_us(landed_at) - epoch_us(changed_at)) / 1e6 AS total_seconds,
    coalesce(changed_at >= begun_at, false) AND changed_by IS DISTINCT FROM 'noticed' AND source <> 'backfill' AS is_measured
FROM version_log
JOIN mirrors USING (repository)
WHERE kind <> 'gone';
COMMENT ON VIEW freshness IS 'How long each version of each pull request took from the change on GitHub to its table.';
COMMENT ON COLUMN freshness.repository IS 'owner/name.';
COMMENT ON COLUMN freshness.number IS 'Number of the pull request.';
COMMENT ON COLUMN freshness.version IS 'Digest of the content.';
COMMENT ON COLUMN freshness.kind IS 'new or changed.';
COMMENT ON COLUMN freshness.source IS 'What noticed the change.';
COMMENT ON COLUMN freshness.lane IS 'The queue it waited in.';
COMMENT ON COLUMN freshness.changed_at IS 'When it came to be on GitHub, as far as that can be told.';
COMMENT ON COLUMN freshness.changed_by IS 'Where changed_at is from: content, updated_at, source or noticed.';
COMMENT ON COLUMN freshness.noticed_at IS 'When the change was noticed here.';
COMMENT ON COLUMN freshness.observed_at IS 'When GitHub was asked.';
COMMENT ON COLUMN freshness.landed_at IS 'When it landed.';
COMMENT ON COLUMN freshness.to_noticed_seconds IS 'From the change to its being noticed.';
COMMENT ON COLUMN freshness.to_observed_seconds IS 'From then until GitHub was asked.';
COMMENT ON COLUMN freshness.to_landed_seconds IS 'From then until it landed.';
COMMENT ON COLUMN freshness.total_seconds IS 'From the change to the table.';
COMMENT ON COLUMN freshness.is_measured IS 'Whether total_seconds says something: the time of the change is known, and it was not there before the mirror was.';

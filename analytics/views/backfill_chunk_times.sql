-- How long each chunk took. A chunk is to be done with within five minutes of being handed on.
-- comments from: backfill_chunks
CREATE OR REPLACE VIEW backfill_chunk_times AS
WITH timed AS (
    SELECT
        *,
        CASE WHEN status IN ('completed', 'failed') THEN coalesce(landed_at, completed_at) END AS finished_at
    FROM backfill_chunks
)
SELECT
    repository,
    backfill,
    chunk,
    status,
    len(numbers) AS pull_requests,
    started_at,
    begun_at,
    finished_at,
    round(epoch(begun_at - started_at), 3) AS waited_seconds,
    round(epoch(finished_at - started_at), 3) AS seconds,
    CASE
        WHEN started_at IS NULL THEN NULL
        WHEN status = 'failed' OR retries > 0 THEN false
        WHEN finished_at IS NOT NULL THEN finished_at - started_at <= INTERVAL 5 MINUTE
        WHEN now() - started_at > INTERVAL 5 MINUTE THEN false
    END AS in_time,
    retries
FROM timed;
COMMENT ON VIEW backfill_chunk_times IS 'How long each chunk took; it is to be done with within five minutes of being handed on.';
COMMENT ON COLUMN backfill_chunk_times.pull_requests IS 'How many pull requests it has.';
COMMENT ON COLUMN backfill_chunk_times.finished_at IS 'When the last of them landed, or it was given up; null while it is under way.';
COMMENT ON COLUMN backfill_chunk_times.waited_seconds IS 'From being handed on until GitHub was first asked for one of it; negative when another reason came first.';
COMMENT ON COLUMN backfill_chunk_times.seconds IS 'From being handed on, the last time, until it was finished.';
COMMENT ON COLUMN backfill_chunk_times.in_time IS 'Whether it was finished within five minutes, and at the first attempt; null while that is open.';

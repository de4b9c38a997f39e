-- What each chunk under way still waits for. A pull request is accounted for by an observation of it, as
-- present or as gone, that is not older than the list that named it, or by its being set aside since.
-- comments from: backfill_chunks
CREATE OR REPLACE VIEW backfill_chunk_progress AS
WITH wanted AS (
    SELECT repository, backfill, chunk, started_at, retries, listed_at, unnest(numbers) AS number
    FROM backfill_chunks
    WHERE status = 'processing'
),
aside AS (
    SELECT repository, number, max(quarantined_at) AS quarantined_at
    FROM quarantine
    WHERE number IS NOT NULL
    GROUP BY repository, number
)
SELECT
    wanted.repository,
    wanted.backfill,
    wanted.chunk,
    wanted.started_at,
    wanted.retries,
    count(*) AS pull_requests,
    coalesce(
        list(wanted.number ORDER BY wanted.number) FILTER (NOT (
            coalesce(landed.observed_at >= wanted.listed_at, false)
            OR coalesce(aside.quarantined_at >= wanted.listed_at, false)
        )),
        []
    )::BIGINT[] AS outstanding,
    min(landed.observed_at) FILTER (landed.observed_at >= wanted.listed_at) AS begun_at,
    greatest(
        max(landed.landed_at) FILTER (landed.observed_at >= wanted.listed_at),
        max(aside.quarantined_at) FILTER (aside.quarantined_at >= wanted.listed_at)
    ) AS landed_at
FROM wanted
LEFT JOIN pull_request_observations AS landed USING (repository, number)
LEFT JOIN aside USING (repository, number)
GROUP BY ALL;
COMMENT ON VIEW backfill_chunk_progress IS 'What each chunk under way still waits for.';
COMMENT ON COLUMN backfill_chunk_progress.pull_requests IS 'How many pull requests it has.';
COMMENT ON COLUMN backfill_chunk_progress.outstanding IS 'Numbers of those that have neither landed nor been found gone nor been set aside since they were listed.';
COMMENT ON COLUMN backfill_chunk_progress.begun_at IS 'When GitHub was first asked for one of those that are accounted for.';
COMMENT ON COLUMN backfill_chunk_progress.landed_at IS 'When the last of those landed, or was set aside.';

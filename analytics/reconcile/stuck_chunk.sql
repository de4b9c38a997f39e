-- code: stuck_chunk
-- severity: warning
-- precedence: 132
-- about: repository
-- gap: no
-- repair: none
-- reason: a chunk of a backfill has been under way for more than twice [detect] chunk_timeout, or was given up
-- remedy: none here: detect-changes hands it on again; what it lacks is missing, and repaired as such
SELECT
    chunks.repository,
    0 AS number,
    NULL::VARCHAR AS node_id,
    format('chunks {} of {}; the last error: {}',
        list(chunks.chunk ORDER BY chunks.chunk)::VARCHAR, any_value(chunks.backfill),
        coalesce(max_by(chunks.error, chunks.reported_at), 'none')) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    max(chunks.reported_at) AS evidence_at
FROM backfill_chunks AS chunks
JOIN backfill_status AS newest USING (repository, backfill)
WHERE chunks.status = 'failed'
   OR (chunks.status = 'processing'
       AND chunks.started_at < getvariable('now') - 2 * getvariable('chunk_timeout')
       -- A chunk that waits for GitHub's next hour is not stuck.
       AND newest.status = 'active')
GROUP BY chunks.repository

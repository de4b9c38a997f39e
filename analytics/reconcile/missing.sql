-- code: missing
-- severity: warning
-- precedence: 10
-- reason: a poll, sweep or backfill listed the pull request, and it has not landed; or it was landed as gone and is listed again
-- remedy: it is fetched; when that fails, its quarantine entry tells why
WITH doubtful AS (
    -- In all others each number that is listed is landed.
    SELECT repository, block FROM number_blocks WHERE listed & (~landed | not_landed) <> 0
),
listed AS (
    FROM inventory
    SEMI JOIN doubtful ON inventory.repository = doubtful.repository AND inventory.number >> 6 = doubtful.block
)
SELECT
    inventory.repository,
    inventory.number,
    inventory.id AS node_id,
    CASE
        WHEN landed.gone_at IS NULL
        THEN format('listed as {}, updated at {}; not landed', inventory.state, utc(inventory.updated_at))
        ELSE format('listed at {}; landed as gone at {}', utc(inventory.observed_at), utc(landed.gone_at))
    END AS reason,
    inventory.updated_at AS changed_at,
    inventory.observed_at AS evidence_at
FROM listed AS inventory
LEFT JOIN (
    SELECT repository, number, gone_at, version IS NOT NULL AS has_content
    FROM pull_request_observations AS landed
    SEMI JOIN doubtful ON landed.repository = doubtful.repository AND landed.number >> 6 = doubtful.block
) AS landed USING (repository, number)
WHERE CASE
    WHEN landed.gone_at IS NULL THEN landed.has_content IS NOT TRUE
    ELSE inventory.observed_at > landed.gone_at
END

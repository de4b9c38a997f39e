-- code: scans_repeated
-- severity: critical
-- precedence: 138
-- about: repository
-- repair: none
-- reason: a scan of the repository is there more than once: the writer failed to keep it unique
-- remedy: `prmirror replay --into FILE --swap` makes the table again; report it, with the log of the publish stage
SELECT
    repository,
    0 AS number,
    NULL::VARCHAR AS node_id,
    format('{} scans are there again, {} for one', sum(rows - 1)::BIGINT, min(scan)) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    max(newest_page_at) AS evidence_at
FROM (
    SELECT repository, scan, count(*) AS rows, max(newest_page_at) AS newest_page_at
    FROM scans
    GROUP BY repository, scan
    HAVING count(*) > 1
)
GROUP BY repository

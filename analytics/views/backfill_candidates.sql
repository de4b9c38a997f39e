-- Repositories that need a backfill: more than 100 pull requests, less than 80 % of them here and right,
-- and none under way.
CREATE OR REPLACE VIEW backfill_candidates AS
SELECT
    standing.repository,
    greatest(standing.known, coalesce(standing.total_count, 0)) AS pull_requests,
    standing.completeness_percent
FROM repository_status AS standing
LEFT JOIN backfill_status AS newest USING (repository)
WHERE pull_requests > 100
  AND standing.completeness_percent < 80
  AND coalesce(newest.status, 'completed') = 'completed';
COMMENT ON VIEW backfill_candidates IS 'Repositories that need a backfill: more than 100 pull requests, completeness below 80 percent, no backfill under way.';
COMMENT ON COLUMN backfill_candidates.repository IS 'owner/name.';
COMMENT ON COLUMN backfill_candidates.pull_requests IS 'Pull requests that are known to exist, or that GitHub counts, whichever is more.';
COMMENT ON COLUMN backfill_candidates.completeness_percent IS 'Share of the known ones that are landed and without an open finding.';

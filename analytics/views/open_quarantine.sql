-- What was set aside and has not been made good. A message about a pull request is made good by an
-- observation of it, any other by a sweep of everything that began later: it shows what is missing.
-- comments from: quarantine
CREATE OR REPLACE VIEW open_quarantine AS
WITH full_sweeps AS (
    SELECT repository, max(started_at) AS started_at
    FROM scans
    WHERE scope = 'all' AND source = 'sweep' AND finished_at IS NOT NULL
    GROUP BY repository
)
SELECT quarantine.*
FROM quarantine
LEFT JOIN pull_request_observations AS landed USING (repository, number)
LEFT JOIN full_sweeps USING (repository)
WHERE CASE
    WHEN quarantine.number IS NOT NULL
    THEN landed.observed_at IS NULL OR landed.observed_at <= quarantine.quarantined_at
    WHEN quarantine.repository IS NOT NULL
    THEN full_sweeps.started_at IS NULL OR full_sweeps.started_at <= quarantine.quarantined_at
    ELSE coalesce((SELECT min(started_at) FROM full_sweeps), '-infinity') <= quarantine.quarantined_at
END;
COMMENT ON VIEW open_quarantine IS 'Quarantined messages that were not made good: of pull requests that were not observed since, and others that no finished sweep of everything came after.';

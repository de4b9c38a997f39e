-- What was set aside and has not been made good. A message about a pull request is made good by an
-- observation of it, any other by a sweep of everything that began later: it shows what is missing.
-- What a person has released or dropped is decided; released, it comes back when it fails again.
-- comments from: quarantine
CREATE OR REPLACE VIEW open_quarantine AS
WITH full_sweeps AS (
    SELECT repository, max(started_at) AS started_at
    FROM scans
    WHERE scope = 'all' AND source = 'sweep' AND finished_at IS NOT NULL
    GROUP BY repository
),
decided AS (
    SELECT message_id, max(decided_at) AS decided_at
    FROM quarantine_decisions
    GROUP BY message_id
)
SELECT quarantine.*
FROM quarantine
LEFT JOIN (FROM pull_request_observations SEMI JOIN quarantine USING (repository, number)) AS landed
    USING (repository, number)
LEFT JOIN full_sweeps USING (repository)
LEFT JOIN decided USING (message_id)
WHERE coalesce(decided.decided_at < quarantine.quarantined_at, true)
  AND CASE
    WHEN quarantine.number IS NOT NULL
    THEN landed.observed_at IS NULL OR landed.observed_at <= quarantine.quarantined_at
    WHEN quarantine.repository IS NOT NULL
    THEN full_sweeps.started_at IS NULL OR full_sweeps.started_at <= quarantine.quarantined_at
    ELSE coalesce((SELECT min(started_at) FROM full_sweeps), '-infinity') <= quarantine.quarantined_at
  END;
COMMENT ON VIEW open_quarantine IS 'Quarantined messages that were not made good: of pull requests that were not observed since, and others that no finished sweep of everything came after; without those that a person has decided on.';

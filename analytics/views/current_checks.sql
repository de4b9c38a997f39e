-- CI as it stands: the newest runs on the heads that pull requests have now.
-- comments from: check_runs
CREATE OR REPLACE VIEW current_checks AS
SELECT * EXCLUDE (superseded_at)
FROM check_runs
WHERE superseded_at IS NULL;
COMMENT ON VIEW current_checks IS 'Check runs and status contexts of each pull request''s current head, without superseded runs.';

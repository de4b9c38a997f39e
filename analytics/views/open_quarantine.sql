-- What was set aside and has not been made good: nothing of the pull request landed since.
-- comments from: quarantine
CREATE OR REPLACE VIEW open_quarantine AS
SELECT quarantine.*
FROM quarantine
LEFT JOIN pull_request_observations AS landed USING (repository, number)
WHERE landed.observed_at IS NULL OR landed.observed_at <= quarantine.quarantined_at;
COMMENT ON VIEW open_quarantine IS 'Quarantined messages of pull requests that were not observed since, and those of no known pull request.';

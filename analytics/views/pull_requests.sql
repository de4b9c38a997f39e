-- Pull requests as they were last observed; gone ones stay, with `gone_at`.
-- comments from: pull_request_contents, pull_request_observations
CREATE OR REPLACE VIEW pull_requests AS
SELECT
    contents.*,
    observations.mergeable,
    observations.merge_state_status,
    observations.potential_merge_commit_oid,
    observations.volatile_observed_at,
    observations.gone_at,
    observations.observed_at,
    observations.landed_at,
    observations.source,
    observations.lane,
    observations.noticed_at,
    observations.changed_at,
    observations.request
FROM pull_request_contents AS contents
JOIN pull_request_observations AS observations USING (repository, number);
COMMENT ON VIEW pull_requests IS 'Pull requests as they were last observed, one row each; gone ones stay, with gone_at.';

-- What is open now.
-- comments from: pull_request_contents, pull_request_observations
CREATE OR REPLACE VIEW open_pull_requests AS
SELECT *
FROM pull_requests
WHERE state = 'OPEN' AND gone_at IS NULL;
COMMENT ON VIEW open_pull_requests IS 'Pull requests that are open and not gone.';

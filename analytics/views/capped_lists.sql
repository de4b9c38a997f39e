-- Lists that end where GitHub ends every list of their kind: after 3,000 files, or 250 commits.
-- https://docs.github.com/en/rest/pulls/pulls
CREATE OR REPLACE VIEW capped_lists AS
SELECT
    lists.repository,
    lists.number,
    lists.collection,
    lists.held,
    -- GitHub ends the total of the files, too.
    CASE lists.collection WHEN 'files' THEN contents.changed_files ELSE lists.total END AS existing
FROM (
    SELECT * FROM collections
    WHERE completeness = 'partial'
      AND (collection = 'files' AND held >= 3000 OR collection = 'commits' AND held = 250)
) AS lists
JOIN pull_request_contents AS contents USING (repository, number)
WHERE existing > lists.held;
COMMENT ON VIEW capped_lists IS 'Lists of pull requests that are larger than GitHub tells of through its API.';
COMMENT ON COLUMN capped_lists.repository IS 'owner/name.';
COMMENT ON COLUMN capped_lists.number IS 'Number of the pull request.';
COMMENT ON COLUMN capped_lists.collection IS 'files or commits.';
COMMENT ON COLUMN capped_lists.held IS 'How many there are here, which are all that GitHub tells.';
COMMENT ON COLUMN capped_lists.existing IS 'How many there are, as GitHub says.';

-- The history of each pull request: which content it had, from when to when. Times are those of
-- observation: GitHub does not tell when CI or a label changed.
-- comments from: version_log
CREATE OR REPLACE VIEW pull_request_versions AS
WITH spans AS (
    SELECT
        *,
        observed_at AS valid_from,
        lead(observed_at) OVER (
            PARTITION BY repository, number ORDER BY observed_at, updated_at
        ) AS valid_to
    FROM version_log
)
SELECT * EXCLUDE (observed_at, kind)
FROM spans
WHERE kind <> 'gone';
COMMENT ON VIEW pull_request_versions IS 'Every content each pull request was seen with, from when to when.';
COMMENT ON COLUMN pull_request_versions.valid_from IS 'When it was first seen so.';
COMMENT ON COLUMN pull_request_versions.valid_to IS 'When it was first seen otherwise, or gone; null while it is so.';

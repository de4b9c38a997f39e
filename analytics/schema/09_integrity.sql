-- What tells whether the rows are those that were landed, and whether what was fetched is all that would
-- be asked for today; and how good the mirror was, over time.

ALTER TABLE pull_request_contents ADD COLUMN fetch_version BIGINT;
COMMENT ON COLUMN pull_request_contents.fetch_version IS 'Version of what was asked of GitHub and kept of its answer; null or 0 of what was landed before that was noted.';
ALTER TABLE pull_request_contents ADD COLUMN rows_digest BIGINT;
COMMENT ON COLUMN pull_request_contents.rows_digest IS 'Sum of the digests of this row and of the rows of its lists, as they were landed; null of what was landed before that was noted.';

ALTER TABLE findings ADD COLUMN repaired_at TIMESTAMP WITH TIME ZONE;
COMMENT ON COLUMN findings.repaired_at IS 'When it was found to be right after a repair; a later observation has still to confirm it.';
COMMENT ON COLUMN findings.number IS 'Number of the pull request; 0 of what is said of a repository.';
COMMENT ON COLUMN findings.status IS 'open, repair_requested, escalated, repaired (right again, to be confirmed by a later observation) or closed.';
COMMENT ON COLUMN finding_history.status IS 'What it became: open, repair_requested, escalated, repaired or closed.';

CREATE TABLE quality (
    repository           VARCHAR                  NOT NULL,
    sampled_at           TIMESTAMP WITH TIME ZONE NOT NULL,
    known                BIGINT                   NOT NULL,
    landed               BIGINT                   NOT NULL,
    missing              BIGINT                   NOT NULL,
    different            BIGINT                   NOT NULL,
    incomplete           BIGINT                   NOT NULL,
    completeness_percent DOUBLE                   NOT NULL,
    truth_rate           DOUBLE,
    score                DOUBLE                   NOT NULL
);
COMMENT ON TABLE quality IS 'How good the mirror of each repository was, over time: a sample when something changed, at most one a minute, and one an hour otherwise; older than two days one an hour stays, for 400 days.';
COMMENT ON COLUMN quality.repository IS 'owner/name.';
COMMENT ON COLUMN quality.sampled_at IS 'When.';
COMMENT ON COLUMN quality.known IS 'Pull requests that were known to exist.';
COMMENT ON COLUMN quality.landed IS 'Those that were landed.';
COMMENT ON COLUMN quality.missing IS 'Those that were not.';
COMMENT ON COLUMN quality.different IS 'Landed ones with an open finding other than incomplete.';
COMMENT ON COLUMN quality.incomplete IS 'Landed ones with an open finding that a list is not whole.';
COMMENT ON COLUMN quality.completeness_percent IS 'Share of the known ones that were landed and without an open finding.';
COMMENT ON COLUMN quality.truth_rate IS 'Share of the pull requests that the newest verification found right, from 0 to 1; null before the first.';
COMMENT ON COLUMN quality.score IS 'From 0 to 100, see repository_quality.';

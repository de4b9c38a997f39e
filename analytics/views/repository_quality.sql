-- How good the mirror of each repository is, as one number: of the known pull requests, those that are
-- right count wholly, those of which only a list is not whole count half, all others not; times the share
-- that the newest verification found right.
CREATE OR REPLACE VIEW repository_quality AS
SELECT
    standing.repository,
    standing.known,
    standing.landed,
    standing.missing,
    standing.different,
    standing.incomplete,
    standing.percent AS completeness_percent,
    truth.rate AS truth_rate,
    least(100, standing.percent + 50.0 * standing.incomplete / standing.known) * coalesce(truth.rate, 1) AS score
FROM completeness AS standing
LEFT JOIN (SELECT repository, rate FROM truth_rate WHERE is_newest) AS truth USING (repository);
COMMENT ON VIEW repository_quality IS 'How good the mirror of each repository is; table quality has it over time.';
COMMENT ON COLUMN repository_quality.repository IS 'owner/name.';
COMMENT ON COLUMN repository_quality.known IS 'Pull requests that are known to exist.';
COMMENT ON COLUMN repository_quality.landed IS 'Those that are landed.';
COMMENT ON COLUMN repository_quality.missing IS 'Those that are not.';
COMMENT ON COLUMN repository_quality.different IS 'Landed ones with an open finding other than incomplete.';
COMMENT ON COLUMN repository_quality.incomplete IS 'Landed ones with an open finding that a list is not whole.';
COMMENT ON COLUMN repository_quality.completeness_percent IS 'Share of the known ones that are landed and without an open finding.';
COMMENT ON COLUMN repository_quality.truth_rate IS 'Share of the pull requests that the newest verification found right, from 0 to 1; null before the first.';
COMMENT ON COLUMN repository_quality.score IS 'From 0 to 100: right ones count wholly, incomplete ones half, others not; times the truth rate.';

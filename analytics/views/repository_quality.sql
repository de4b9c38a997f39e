-- How good the mirror of each repository is, as one number: of the known pull requests, those that are
-- right count wholly, those of which only a list is not whole count half, all others not; times the share
-- that the newest verification found right of those that say something of all.
-- Such a run has compared 20 pull requests at least, or as many as there are: of fewer, a single wrong one would
-- say too much. It looked at more than the open ones (`verify --open` has runs of its own name), and it is
-- finished: it goes through a repository from the first number to the last, and what differs comes last, after a
-- second look. No run tells its end. One is taken to be finished when another has begun, or when nothing came of it
-- for an hour: the longest wait within a run is that for GitHub's next hour. One that was interrupted counts with what
-- it had settled.
CREATE OR REPLACE VIEW repository_quality AS
WITH standing AS (
    FROM completeness
),
finished AS (
    SELECT repository, started_at, pull_requests, rate
    FROM truth_rate
    WHERE NOT starts_with(run, 'verify-open-')
    QUALIFY lead(started_at) OVER (PARTITION BY repository ORDER BY started_at, run) IS NOT NULL
        -- As of the reconciliation that asks; people ask as of now.
        OR finished_at <= coalesce(getvariable('now'), now()) - INTERVAL 1 HOUR
),
truth AS (
    SELECT finished.repository, arg_max(finished.rate, finished.started_at) AS rate
    FROM finished
    JOIN standing USING (repository)
    WHERE finished.pull_requests >= least(20, standing.known)
    GROUP BY finished.repository
)
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
FROM standing
LEFT JOIN truth USING (repository);
COMMENT ON VIEW repository_quality IS 'How good the mirror of each repository is; table quality has it over time.';
COMMENT ON COLUMN repository_quality.repository IS 'owner/name.';
COMMENT ON COLUMN repository_quality.known IS 'Pull requests that are known to exist.';
COMMENT ON COLUMN repository_quality.landed IS 'Those that are landed.';
COMMENT ON COLUMN repository_quality.missing IS 'Those that are not.';
COMMENT ON COLUMN repository_quality.different IS 'Landed ones with an open finding other than incomplete.';
COMMENT ON COLUMN repository_quality.incomplete IS 'Landed ones with an open finding that a list is not whole.';
COMMENT ON COLUMN repository_quality.completeness_percent IS 'Share of the known ones that are landed and without an open finding.';
COMMENT ON COLUMN repository_quality.truth_rate IS 'Share of the pull requests that the newest verification found right, from 0 to 1; null before the first. One that is small, under way, or of open ones only does not count.';
COMMENT ON COLUMN repository_quality.score IS 'From 0 to 100: right ones count wholly, incomplete ones half, others not; times the truth rate.';

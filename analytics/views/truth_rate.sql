-- How right the mirror was found to be by each verification: the share of pull requests of which every
-- field was as GitHub said, with Wilson's interval, which holds for small samples and shares near 1 too.
-- What was looked at besides a sample, because it had been found wrong and was repaired, is not of the sample.
-- Runs of any size are here, those that are under way and those that look at open ones only among them.
CREATE OR REPLACE VIEW truth_rate AS
WITH runs AS (
    SELECT
        repository,
        run,
        min(observed_at) AS started_at,
        max(observed_at) AS finished_at,
        count(*) AS pull_requests,
        count(*) FILTER (differences = 0) AS right_ones,
        sum(fields)::BIGINT AS fields,
        sum(differences)::BIGINT AS differences,
        -- 1.96 standard deviations to either side hold 95 %.
        1.96 * 1.96 AS z2
    FROM verifications
    WHERE NOT starts_with(run, 'verify-repaired-')
    GROUP BY repository, run
)
SELECT
    repository,
    run,
    row_number() OVER (PARTITION BY repository ORDER BY started_at DESC, run DESC) = 1 AS is_newest,
    started_at,
    finished_at,
    pull_requests,
    pull_requests - right_ones AS wrong,
    fields,
    differences,
    right_ones / pull_requests AS rate,
    greatest(0, (rate + z2 / (2 * pull_requests)
        - 1.96 * sqrt(rate * (1 - rate) / pull_requests + z2 / (4 * pull_requests ** 2)))
        / (1 + z2 / pull_requests)) AS low,
    least(1, (rate + z2 / (2 * pull_requests)
        + 1.96 * sqrt(rate * (1 - rate) / pull_requests + z2 / (4 * pull_requests ** 2)))
        / (1 + z2 / pull_requests)) AS high
FROM runs;
COMMENT ON VIEW truth_rate IS 'How right the mirror was found to be by each verification, with a 95 percent interval.';
COMMENT ON COLUMN truth_rate.repository IS 'owner/name.';
COMMENT ON COLUMN truth_rate.run IS 'Identity of the run.';
COMMENT ON COLUMN truth_rate.is_newest IS 'Whether it is the newest run of the repository.';
COMMENT ON COLUMN truth_rate.started_at IS 'When its first pull request was read from GitHub.';
COMMENT ON COLUMN truth_rate.finished_at IS 'When its last one was.';
COMMENT ON COLUMN truth_rate.pull_requests IS 'Pull requests that were compared.';
COMMENT ON COLUMN truth_rate.wrong IS 'Those of which some field was not as GitHub said.';
COMMENT ON COLUMN truth_rate.fields IS 'Fields that were compared.';
COMMENT ON COLUMN truth_rate.differences IS 'Those that were not as GitHub said.';
COMMENT ON COLUMN truth_rate.rate IS 'Share of the pull requests that were right, from 0 to 1.';
COMMENT ON COLUMN truth_rate.low IS 'Lower end of its 95 percent interval (Wilson).';
COMMENT ON COLUMN truth_rate.high IS 'Upper end.';

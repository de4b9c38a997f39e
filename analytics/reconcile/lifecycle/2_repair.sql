-- Repairs that are due: one a pull request, for its most specific finding, unless it waits to be fetched
-- anyway, or is missing while a backfill is on its way to it. The time to the next attempt doubles; after
-- the last attempt the finding is escalated and retried slowly.
CREATE OR REPLACE TEMPORARY TABLE changed_findings AS
WITH most_specific AS (
    SELECT DISTINCT ON (findings.repository, findings.number) findings.*, rules.is_gap
    FROM findings
    JOIN rules USING (rule)
    WHERE findings.status IN ('open', 'repair_requested', 'escalated') AND rules.is_repaired
    ORDER BY rules.precedence, findings.id
),
due AS (
    SELECT most_specific.*
    FROM most_specific
    CROSS JOIN settings
    ANTI JOIN under_way USING (repository, number)
    ANTI JOIN (
        SELECT repository, 'missing' AS rule
        FROM backfill_status
        WHERE walked_at IS NULL AND status IN ('active', 'rate_limit_low')
    ) AS walks USING (repository, rule)
    WHERE next_attempt_at <= settings.now
    -- What is only worth knowing waits until the mirror is right.
    ORDER BY is_gap DESC, opened_at, id
    LIMIT (SELECT max_repairs FROM settings)
)
SELECT
    due.* EXCLUDE (is_gap) REPLACE (
        attempts + 1 AS attempts,
        CASE WHEN is_gap AND attempts >= settings.max_attempts THEN 'escalated' ELSE 'repair_requested' END AS status,
        CASE WHEN is_gap AND attempts >= settings.max_attempts THEN 'critical' ELSE severity END AS severity,
        settings.now + CASE
            WHEN attempts >= settings.max_attempts THEN settings.backoff_escalated
            -- The power is bounded before it is taken: attempts grow for as long as repair fails.
            ELSE to_microseconds(least(
                epoch_us(settings.backoff_max),
                epoch_us(settings.backoff_min) * pow(2, least(attempts, 30))
            )::BIGINT)
        END AS next_attempt_at
    ),
    true AS is_news
FROM due
CROSS JOIN settings;

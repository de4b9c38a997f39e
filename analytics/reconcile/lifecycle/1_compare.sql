-- What the rules found now (temporary table found) against the findings that are not closed: new ones
-- are opened, those that are still found keep their place and take the newest reason, and those that
-- are no longer found are closed, provided that something was observed since that can be the cause.
CREATE OR REPLACE TEMPORARY TABLE changed_findings AS
WITH still AS (
    SELECT * FROM findings WHERE status <> 'closed'
),
opened AS (
    SELECT
        found.id, found.rule, rules.severity, found.repository, found.number, found.node_id,
        found.reason, 'open' AS status, settings.now AS opened_at, found.evidence_at,
        found.changed_at, 0 AS attempts, settings.now + settings.grace AS next_attempt_at,
        NULL::TIMESTAMP WITH TIME ZONE AS closed_at,
        true AS is_news
    FROM found
    JOIN rules USING (rule)
    CROSS JOIN settings
    ANTI JOIN still USING (id)
),
kept AS (
    SELECT
        still.* REPLACE (
            coalesce(found.node_id, still.node_id) AS node_id,
            found.reason AS reason,
            found.evidence_at AS evidence_at,
            coalesce(found.changed_at, still.changed_at) AS changed_at
        ),
        false AS is_news
    FROM still
    JOIN found USING (id)
    WHERE found.reason <> still.reason OR found.evidence_at <> still.evidence_at
),
closed AS (
    SELECT
        still.* REPLACE ('closed' AS status, settings.now AS closed_at),
        true AS is_news
    FROM still
    CROSS JOIN settings
    ANTI JOIN found USING (id)
    LEFT JOIN pull_request_observations AS landed
        ON landed.repository = still.repository AND landed.number = still.number
    LEFT JOIN inventory
        ON inventory.repository = still.repository AND inventory.number = still.number
    -- Observed anew; or landed since, so that it agrees with what contradicted it; or the
    -- inventory was.
    WHERE landed.observed_at > still.evidence_at
       OR landed.landed_at > still.opened_at
       OR inventory.observed_at > still.evidence_at
)
SELECT * FROM opened
UNION ALL
SELECT * FROM kept
UNION ALL
SELECT * FROM closed;

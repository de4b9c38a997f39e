-- What the rules found now (temporary table found) against the findings that are not closed: new ones
-- are opened; those that are still found keep their place and take the newest reason; those that are no
-- longer found are right again, provided that something was observed since that can be the cause. Right
-- again without a repair is closed; after a repair it is repaired, and closed when a later observation
-- confirms it; what a verification found, by a later one that finds nothing, for no list shows every field.
-- What is found again after it was repaired is open again, and its repairs count on.
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
        NULL::TIMESTAMP WITH TIME ZONE AS repaired_at,
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
            CASE WHEN still.status = 'repaired' THEN 'open' ELSE still.status END AS status,
            CASE WHEN still.status = 'repaired'
                THEN greatest(still.next_attempt_at, settings.now + settings.grace)
                ELSE still.next_attempt_at
            END AS next_attempt_at,
            found.evidence_at AS evidence_at,
            coalesce(found.changed_at, still.changed_at) AS changed_at,
            NULL AS repaired_at
        ),
        still.status = 'repaired' AS is_news
    FROM still
    JOIN found USING (id)
    CROSS JOIN settings
    WHERE still.status = 'repaired'
       OR found.reason <> still.reason
       OR found.evidence_at <> still.evidence_at
),
-- Those that are not found, by rules that looked for them in this run.
not_found AS (
    SELECT
        still.*,
        coalesce(rules.about_repository, false) AS about_repository,
        landed.observed_at AS landed_observed_at,
        landed.landed_at,
        landed.gone_at,
        inventory.observed_at AS inventory_observed_at,
        verified.observed_at AS verified_at,
        -- Whether nothing else has to confirm it.
        CASE
            WHEN rules.about_repository THEN true
            WHEN still.rule = 'verified_wrong' THEN coalesce(verified.observed_at > still.evidence_at, false)
            ELSE still.attempts = 0
        END AS is_over
    FROM still
    ANTI JOIN found USING (id)
    -- A rule that is no more finds nothing.
    LEFT JOIN rules USING (rule)
    LEFT JOIN (FROM pull_request_observations SEMI JOIN still USING (repository, number)) AS landed
        ON landed.repository = still.repository AND landed.number = still.number
    LEFT JOIN (FROM inventory SEMI JOIN still USING (repository, number)) AS inventory
        ON inventory.repository = still.repository AND inventory.number = still.number
    LEFT JOIN (
        SELECT repository, number, max(observed_at) AS observed_at
        FROM verifications
        WHERE differences = 0
        GROUP BY repository, number
    ) AS verified
        ON verified.repository = still.repository AND verified.number = still.number
    CROSS JOIN settings
    WHERE settings.has_rotated OR NOT coalesce(rules.is_rotating, false)
),
right_again AS (
    SELECT
        not_found.* EXCLUDE (
            about_repository, landed_observed_at, landed_at, gone_at, inventory_observed_at, verified_at, is_over
        )
        REPLACE (
            CASE WHEN is_over THEN 'closed' ELSE 'repaired' END AS status,
            CASE WHEN is_over THEN settings.now END AS closed_at,
            CASE WHEN NOT is_over THEN settings.now END AS repaired_at
        ),
        true AS is_news
    FROM not_found
    CROSS JOIN settings
    WHERE status <> 'repaired'
      -- Observed anew; or landed since, so that it agrees with what contradicted it; or the
      -- inventory was.
      AND (about_repository
           OR landed_observed_at > evidence_at
           OR landed_at > opened_at
           OR inventory_observed_at > evidence_at
           OR verified_at > evidence_at)
),
confirmed AS (
    SELECT
        not_found.* EXCLUDE (
            about_repository, landed_observed_at, landed_at, gone_at, inventory_observed_at, verified_at, is_over
        )
        REPLACE ('closed' AS status, settings.now AS closed_at),
        true AS is_news
    FROM not_found
    CROSS JOIN settings
    WHERE status = 'repaired'
      AND (gone_at IS NOT NULL
           OR CASE WHEN rule = 'verified_wrong'
               THEN verified_at > repaired_at
               ELSE landed_observed_at > repaired_at OR inventory_observed_at > repaired_at
           END)
)
SELECT * FROM opened
UNION ALL BY NAME SELECT * FROM kept
UNION ALL BY NAME SELECT * FROM right_again
UNION ALL BY NAME SELECT * FROM confirmed;

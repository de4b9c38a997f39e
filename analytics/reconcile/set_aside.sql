-- code: set_aside
-- severity: warning
-- precedence: 75
-- reason: a message about the pull request was set aside, and the pull request was not observed since
-- remedy: the pull request is fetched; its quarantine entry tells what was wrong
WITH waiting AS (
    FROM open_quarantine WHERE repository IS NOT NULL AND number IS NOT NULL
)
SELECT
    quarantine.repository,
    quarantine.number,
    coalesce(any_value(contents.id), any_value(inventory.id)) AS node_id,
    format('{} messages; the newest: {} by {}',
        count(*),
        arg_max(quarantine.code, quarantine.quarantined_at),
        arg_max(quarantine.stage, quarantine.quarantined_at)) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    max(quarantine.quarantined_at) AS evidence_at
FROM waiting AS quarantine
LEFT JOIN (FROM pull_request_contents SEMI JOIN waiting USING (repository, number)) AS contents
    USING (repository, number)
LEFT JOIN (FROM inventory SEMI JOIN waiting USING (repository, number)) AS inventory USING (repository, number)
GROUP BY quarantine.repository, quarantine.number

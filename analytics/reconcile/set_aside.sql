-- code: set_aside
-- severity: warning
-- precedence: 75
-- reason: a message about the pull request was set aside, and the pull request was not observed since
-- remedy: the pull request is fetched; its quarantine entry tells what was wrong
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
FROM open_quarantine AS quarantine
LEFT JOIN pull_request_contents AS contents USING (repository, number)
LEFT JOIN inventory USING (repository, number)
WHERE quarantine.repository IS NOT NULL AND quarantine.number IS NOT NULL
GROUP BY quarantine.repository, quarantine.number

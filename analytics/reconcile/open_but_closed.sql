-- code: open_but_closed
-- severity: warning
-- precedence: 40
-- reason: it is landed as closed or merged, and was seen open
-- remedy: the pull request is fetched
SELECT
    repository,
    number,
    node_id,
    format('state is {}; landed {}', inventory_state, landed_state) AS reason,
    inventory_updated_at AS changed_at,
    inventory_observed_at AS evidence_at
FROM inventory_differences
WHERE landed_state <> 'OPEN' AND inventory_state = 'OPEN'

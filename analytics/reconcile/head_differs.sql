-- code: head_differs
-- severity: warning
-- precedence: 20
-- reason: the head commit is another one than the landed: a push or a force-push was missed
-- remedy: the pull request is fetched
SELECT
    repository,
    number,
    node_id,
    format('head is {}; landed {}', inventory_head_ref_oid, landed_head_ref_oid) AS reason,
    inventory_updated_at AS changed_at,
    inventory_observed_at AS evidence_at
FROM inventory_differences
WHERE inventory_head_ref_oid <> landed_head_ref_oid

-- code: ci_differs
-- severity: warning
-- precedence: 50
-- reason: CI of the landed head stands otherwise: a check ended, began, or was run again, which changes no updatedAt
-- remedy: the pull request is fetched
SELECT
    repository,
    number,
    node_id,
    -- A re-run that ended as the run before shows in the digest alone.
    format('CI is {} ({}); landed {} ({})',
        coalesce(inventory_checks_state, 'none'),
        concat_ws(' ', inventory_check_run_counts, inventory_status_context_counts, inventory_contexts_digest),
        coalesce(landed_checks_state, 'none'),
        concat_ws(' ', landed_check_run_counts, landed_status_context_counts, landed_contexts_digest)
    ) AS reason,
    -- GitHub does not tell when CI changed: not before what is landed was seen.
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    inventory_observed_at AS evidence_at
FROM inventory_differences
WHERE inventory_head_ref_oid = landed_head_ref_oid
  AND (
      inventory_checks_state IS DISTINCT FROM landed_checks_state
      OR inventory_checks_total IS DISTINCT FROM landed_checks_total
      OR inventory_check_run_counts IS DISTINCT FROM landed_check_run_counts
      OR inventory_status_context_counts IS DISTINCT FROM landed_status_context_counts
      -- Neither side has a digest when there are too many contexts for a page.
      OR inventory_contexts_digest <> landed_contexts_digest
  )

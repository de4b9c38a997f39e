-- code: stale
-- severity: warning
-- precedence: 60
-- reason: GitHub changed it after the landed observation: updatedAt moved, or its draft flag, review decision, labels or the lengths of its lists are others
-- remedy: the pull request is fetched
WITH differences AS (
    SELECT
        *,
        -- A sweep shows a page of labels.
        CASE WHEN len(inventory_label_names) < 100 THEN inventory_label_names <> landed_label_names
            ELSE NOT list_has_all(landed_label_names, inventory_label_names)
        END AS labels_differ
    FROM inventory_differences
)
SELECT
    repository,
    number,
    node_id,
    concat_ws('; ',
        CASE WHEN inventory_updated_at <> landed_updated_at THEN
            format('updated at {}, landed {}', utc(inventory_updated_at), utc(landed_updated_at)) END,
        CASE WHEN inventory_is_draft <> landed_is_draft THEN
            format('draft is {}, landed {}', inventory_is_draft, landed_is_draft) END,
        CASE WHEN inventory_review_decision IS DISTINCT FROM landed_review_decision THEN
            format('review decision is {}, landed {}',
                coalesce(inventory_review_decision, 'none'), coalesce(landed_review_decision, 'none')) END,
        CASE WHEN labels_differ THEN
            format('labels are {}, landed {}', inventory_label_names::VARCHAR, landed_label_names::VARCHAR) END,
        CASE WHEN inventory_totals <> landed_totals THEN
            format('totals are {}, landed {}', inventory_totals::VARCHAR, landed_totals::VARCHAR) END
    ) AS reason,
    inventory_updated_at AS changed_at,
    inventory_observed_at AS evidence_at
FROM differences
WHERE inventory_updated_at <> landed_updated_at
   OR inventory_is_draft <> landed_is_draft
   OR inventory_review_decision IS DISTINCT FROM landed_review_decision
   OR labels_differ
   OR inventory_totals <> landed_totals

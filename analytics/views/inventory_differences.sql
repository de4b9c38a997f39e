-- Pull requests of which a poll or sweep showed something else, later, than what is landed. Volatile
-- data has no part: key data has none. What a list shows with an older updatedAt than the landed one
-- is the list lagging behind, and no difference. Each column is compared, and not the fingerprints: the
-- landed one tells what was landed, and not what is in the table now.
CREATE OR REPLACE VIEW inventory_differences AS
WITH landed_keys AS (
    SELECT hash(repository, number, fingerprint, updated_at, state, head_ref_oid, is_draft, review_decision, label_names,
        total_labels, total_assignees, total_review_requests, changed_files, total_commits, total_reviews,
        total_review_threads, total_comments, total_timeline, total_closing_issues, checks_state, checks_total,
        check_run_counts, status_context_counts, contexts_digest) AS key
    FROM pull_request_contents
),
-- Joining a million wide rows to compare each column takes five times as long as looking for their hashes.
differing AS (
    SELECT repository, number
    FROM (
        SELECT repository, number, hash(repository, number, fingerprint, updated_at, state, head_ref_oid, is_draft, review_decision, label_names,
        total_labels, total_assignees, total_review_requests, changed_files, total_commits, total_reviews,
        total_review_threads, total_comments, total_timeline, total_closing_issues, checks_state, checks_total,
        check_run_counts, status_context_counts, contexts_digest) AS key
        FROM inventory
    )
    ANTI JOIN landed_keys USING (key)
)
SELECT
    inventory.repository,
    inventory.number,
    inventory.id AS node_id,
    landed.observed_at AS landed_observed_at,
    inventory.observed_at AS inventory_observed_at,
    contents.updated_at AS landed_updated_at,
    inventory.updated_at AS inventory_updated_at,
    contents.state AS landed_state,
    inventory.state AS inventory_state,
    contents.head_ref_oid AS landed_head_ref_oid,
    inventory.head_ref_oid AS inventory_head_ref_oid,
    contents.is_draft AS landed_is_draft,
    inventory.is_draft AS inventory_is_draft,
    contents.review_decision AS landed_review_decision,
    inventory.review_decision AS inventory_review_decision,
    contents.label_names AS landed_label_names,
    inventory.label_names AS inventory_label_names,
    {
        labels: contents.total_labels, assignees: contents.total_assignees,
        review_requests: contents.total_review_requests, files: contents.changed_files,
        commits: contents.total_commits, reviews: contents.total_reviews,
        review_threads: contents.total_review_threads, comments: contents.total_comments,
        timeline: contents.total_timeline, closing_issues: contents.total_closing_issues
    } AS landed_totals,
    {
        labels: inventory.total_labels, assignees: inventory.total_assignees,
        review_requests: inventory.total_review_requests, files: inventory.changed_files,
        commits: inventory.total_commits, reviews: inventory.total_reviews,
        review_threads: inventory.total_review_threads, comments: inventory.total_comments,
        timeline: inventory.total_timeline, closing_issues: inventory.total_closing_issues
    } AS inventory_totals,
    contents.checks_state AS landed_checks_state,
    inventory.checks_state AS inventory_checks_state,
    contents.checks_total AS landed_checks_total,
    inventory.checks_total AS inventory_checks_total,
    contents.check_run_counts AS landed_check_run_counts,
    inventory.check_run_counts AS inventory_check_run_counts,
    contents.status_context_counts AS landed_status_context_counts,
    inventory.status_context_counts AS inventory_status_context_counts,
    contents.contexts_digest AS landed_contexts_digest,
    inventory.contexts_digest AS inventory_contexts_digest
FROM inventory
JOIN differing USING (repository, number)
JOIN pull_request_contents AS contents USING (repository, number)
JOIN pull_request_observations AS landed USING (repository, number)
WHERE inventory.observed_at > landed.observed_at
  AND inventory.updated_at >= contents.updated_at
  AND landed.gone_at IS NULL;
COMMENT ON VIEW inventory_differences IS 'Pull requests of which a poll or sweep showed something else, later, than what is landed: both sides of every compared column.';
COMMENT ON COLUMN inventory_differences.repository IS 'owner/name.';
COMMENT ON COLUMN inventory_differences.number IS 'Number of the pull request.';
COMMENT ON COLUMN inventory_differences.node_id IS 'GraphQL node id.';
COMMENT ON COLUMN inventory_differences.landed_observed_at IS 'When GitHub was asked, as landed.';
COMMENT ON COLUMN inventory_differences.inventory_observed_at IS 'When GitHub was asked, as a poll or sweep showed it.';
COMMENT ON COLUMN inventory_differences.landed_updated_at IS 'GitHub''s time of the last change, as landed.';
COMMENT ON COLUMN inventory_differences.inventory_updated_at IS 'GitHub''s time of the last change, as a poll or sweep showed it.';
COMMENT ON COLUMN inventory_differences.landed_state IS 'OPEN, CLOSED or MERGED, as landed.';
COMMENT ON COLUMN inventory_differences.inventory_state IS 'OPEN, CLOSED or MERGED, as a poll or sweep showed it.';
COMMENT ON COLUMN inventory_differences.landed_head_ref_oid IS 'Head commit, as landed.';
COMMENT ON COLUMN inventory_differences.inventory_head_ref_oid IS 'Head commit, as a poll or sweep showed it.';
COMMENT ON COLUMN inventory_differences.landed_is_draft IS 'Whether it is a draft, as landed.';
COMMENT ON COLUMN inventory_differences.inventory_is_draft IS 'Whether it is a draft, as a poll or sweep showed it.';
COMMENT ON COLUMN inventory_differences.landed_review_decision IS 'Outcome of the reviews, as landed.';
COMMENT ON COLUMN inventory_differences.inventory_review_decision IS 'Outcome of the reviews, as a poll or sweep showed it.';
COMMENT ON COLUMN inventory_differences.landed_label_names IS 'Names of the labels, sorted, as landed.';
COMMENT ON COLUMN inventory_differences.inventory_label_names IS 'Names of the labels, sorted, as a poll or sweep showed it.';
COMMENT ON COLUMN inventory_differences.landed_totals IS 'How long each list is, as landed.';
COMMENT ON COLUMN inventory_differences.inventory_totals IS 'How long each list is, as a poll or sweep showed it.';
COMMENT ON COLUMN inventory_differences.landed_checks_state IS 'CI of the head commit, as landed.';
COMMENT ON COLUMN inventory_differences.inventory_checks_state IS 'CI of the head commit, as a poll or sweep showed it.';
COMMENT ON COLUMN inventory_differences.landed_checks_total IS 'Check runs and status contexts together, as landed.';
COMMENT ON COLUMN inventory_differences.inventory_checks_total IS 'Check runs and status contexts together, as a poll or sweep showed it.';
COMMENT ON COLUMN inventory_differences.landed_check_run_counts IS 'STATE:count of the check runs, as landed.';
COMMENT ON COLUMN inventory_differences.inventory_check_run_counts IS 'STATE:count of the check runs, as a poll or sweep showed it.';
COMMENT ON COLUMN inventory_differences.landed_status_context_counts IS 'STATE:count of the status contexts, as landed.';
COMMENT ON COLUMN inventory_differences.inventory_status_context_counts IS 'STATE:count of the status contexts, as a poll or sweep showed it.';
COMMENT ON COLUMN inventory_differences.landed_contexts_digest IS 'Digest of every context''s id and outcome, as landed.';
COMMENT ON COLUMN inventory_differences.inventory_contexts_digest IS 'Digest of every context''s id and outcome, as a poll or sweep showed it.';

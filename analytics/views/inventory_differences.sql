-- Pull requests of which a poll or sweep showed something else, later, than what is landed. Volatile
-- data has no part: key data has none. What a list shows with an older updatedAt than the landed one
-- is the list lagging behind, and no difference. Each column is compared, and not the fingerprints: the
-- landed one tells what was landed, and not what is in the table now.
CREATE OR REPLACE VIEW inventory_differences AS
WITH listed AS NOT MATERIALIZED (
    SELECT
        repository,
        number,
        number >> 6 AS block,
        id,
        observed_at,
        {
            updated_at: updated_at, state: state, head_ref_oid: head_ref_oid, is_draft: is_draft,
            review_decision: review_decision, label_names: label_names,
            totals: {
                labels: total_labels, assignees: total_assignees, review_requests: total_review_requests,
                files: changed_files, commits: total_commits, reviews: total_reviews,
                review_threads: total_review_threads, comments: total_comments, timeline: total_timeline,
                closing_issues: total_closing_issues
            },
            checks_state: checks_state, checks_total: checks_total, check_run_counts: check_run_counts,
            status_context_counts: status_context_counts, contexts_digest: contexts_digest
        } AS compared
    FROM inventory
),
landed AS NOT MATERIALIZED (
    SELECT
        repository,
        number,
        number >> 6 AS block,
        {
            updated_at: updated_at, state: state, head_ref_oid: head_ref_oid, is_draft: is_draft,
            review_decision: review_decision, label_names: label_names,
            totals: {
                labels: total_labels, assignees: total_assignees, review_requests: total_review_requests,
                files: changed_files, commits: total_commits, reviews: total_reviews,
                review_threads: total_review_threads, comments: total_comments, timeline: total_timeline,
                closing_issues: total_closing_issues
            },
            checks_state: checks_state, checks_total: checks_total, check_run_counts: check_run_counts,
            status_context_counts: status_context_counts, contexts_digest: contexts_digest
        } AS compared
    FROM pull_request_contents
),
-- Joining a million wide rows to compare each column takes many times as long as summing up their hashes, of
-- 64 numbers each. What differs lies where the sums do, and is there looked for by its hash.
doubtful AS (
    SELECT repository, block
    FROM (SELECT repository, block, sum(hash(number, compared)) AS keys FROM listed GROUP BY repository, block) AS theirs
    JOIN (SELECT repository, block, sum(hash(number, compared)) AS keys FROM landed GROUP BY repository, block) AS ours
        USING (repository, block)
    WHERE theirs.keys <> ours.keys
),
differing AS (
    SELECT inventory.*
    FROM (FROM listed SEMI JOIN doubtful USING (repository, block)) AS inventory
    ANTI JOIN (FROM landed SEMI JOIN doubtful USING (repository, block)) AS contents
        ON hash(inventory.repository, inventory.number, inventory.compared)
            = hash(contents.repository, contents.number, contents.compared)
)
SELECT
    inventory.repository,
    inventory.number,
    inventory.id AS node_id,
    landed.observed_at AS landed_observed_at,
    inventory.observed_at AS inventory_observed_at,
    contents.compared.updated_at AS landed_updated_at,
    inventory.compared.updated_at AS inventory_updated_at,
    contents.compared.state AS landed_state,
    inventory.compared.state AS inventory_state,
    contents.compared.head_ref_oid AS landed_head_ref_oid,
    inventory.compared.head_ref_oid AS inventory_head_ref_oid,
    contents.compared.is_draft AS landed_is_draft,
    inventory.compared.is_draft AS inventory_is_draft,
    contents.compared.review_decision AS landed_review_decision,
    inventory.compared.review_decision AS inventory_review_decision,
    contents.compared.label_names AS landed_label_names,
    inventory.compared.label_names AS inventory_label_names,
    contents.compared.totals AS landed_totals,
    inventory.compared.totals AS inventory_totals,
    contents.compared.checks_state AS landed_checks_state,
    inventory.compared.checks_state AS inventory_checks_state,
    contents.compared.checks_total AS landed_checks_total,
    inventory.compared.checks_total AS inventory_checks_total,
    contents.compared.check_run_counts AS landed_check_run_counts,
    inventory.compared.check_run_counts AS inventory_check_run_counts,
    contents.compared.status_context_counts AS landed_status_context_counts,
    inventory.compared.status_context_counts AS inventory_status_context_counts,
    contents.compared.contexts_digest AS landed_contexts_digest,
    inventory.compared.contexts_digest AS inventory_contexts_digest
FROM differing AS inventory
JOIN (FROM landed SEMI JOIN differing USING (repository, number)) AS contents USING (repository, number)
JOIN pull_request_observations AS landed USING (repository, number)
ANTI JOIN (FROM pull_request_observations WHERE gone_at IS NOT NULL) USING (repository, number)
WHERE inventory.observed_at > landed.observed_at
  AND inventory.compared.updated_at >= contents.compared.updated_at;
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

-- Pull requests, current. The content (wide, rewritten only when it changes) and what each
-- observation moves (narrow, rewritten at every observation) are two tables: rewriting a wide row to
-- move one time costs as much as landing it. Analysts read the view `pull_requests`, which joins them.

CREATE TABLE pull_request_contents (
    repository            VARCHAR                  NOT NULL,
    number                BIGINT                   NOT NULL,
    id                    VARCHAR                  NOT NULL,
    repository_id         VARCHAR                  NOT NULL,
    full_database_id      BIGINT,
    url                   VARCHAR                  NOT NULL,
    title                 VARCHAR                  NOT NULL,
    body                  VARCHAR                  NOT NULL,
    state                 VARCHAR                  NOT NULL,
    is_draft              BOOLEAN                  NOT NULL,
    locked                BOOLEAN                  NOT NULL,
    author                VARCHAR,
    author_kind           VARCHAR,
    created_at            TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at            TIMESTAMP WITH TIME ZONE NOT NULL,
    closed_at             TIMESTAMP WITH TIME ZONE,
    merged_at             TIMESTAMP WITH TIME ZONE,
    merged_by             VARCHAR,
    merge_commit_oid      VARCHAR,
    review_decision       VARCHAR,
    base_ref_name         VARCHAR                  NOT NULL,
    base_ref_oid          VARCHAR                  NOT NULL,
    head_ref_name         VARCHAR                  NOT NULL,
    head_ref_oid          VARCHAR                  NOT NULL,
    head_repository       VARCHAR,
    is_cross_repository   BOOLEAN                  NOT NULL,
    maintainer_can_modify BOOLEAN                  NOT NULL,
    additions             BIGINT                   NOT NULL,
    deletions             BIGINT                   NOT NULL,
    changed_files         BIGINT                   NOT NULL,
    milestone_number      BIGINT,
    milestone_title       VARCHAR,
    auto_merge_enabled_at TIMESTAMP WITH TIME ZONE,
    auto_merge_enabled_by VARCHAR,
    auto_merge_method     VARCHAR,
    label_names           VARCHAR[]                NOT NULL,
    version               VARCHAR                  NOT NULL,
    is_complete           BOOLEAN                  NOT NULL,
    fingerprint           VARCHAR                  NOT NULL,
    total_labels          BIGINT                   NOT NULL,
    total_assignees       BIGINT                   NOT NULL,
    total_review_requests BIGINT                   NOT NULL,
    total_commits         BIGINT                   NOT NULL,
    total_reviews         BIGINT                   NOT NULL,
    total_review_threads  BIGINT                   NOT NULL,
    total_comments        BIGINT                   NOT NULL,
    total_timeline        BIGINT                   NOT NULL,
    total_closing_issues  BIGINT                   NOT NULL,
    checks_state          VARCHAR,
    checks_total          BIGINT,
    check_run_counts      VARCHAR,
    status_context_counts VARCHAR,
    contexts_digest       VARCHAR
);
COMMENT ON TABLE pull_request_contents IS 'Content of the newest observation of each pull request, one row each; read it through the view pull_requests.';
COMMENT ON COLUMN pull_request_contents.repository IS 'owner/name.';
COMMENT ON COLUMN pull_request_contents.number IS 'Number of the pull request.';
COMMENT ON COLUMN pull_request_contents.id IS 'GraphQL node id.';
COMMENT ON COLUMN pull_request_contents.repository_id IS 'Node id of the repository.';
COMMENT ON COLUMN pull_request_contents.full_database_id IS 'REST id (fullDatabaseId).';
COMMENT ON COLUMN pull_request_contents.url IS 'Page on GitHub.';
COMMENT ON COLUMN pull_request_contents.title IS 'Title.';
COMMENT ON COLUMN pull_request_contents.body IS 'Description, Markdown.';
COMMENT ON COLUMN pull_request_contents.state IS 'OPEN, CLOSED or MERGED.';
COMMENT ON COLUMN pull_request_contents.is_draft IS 'Whether it is a draft.';
COMMENT ON COLUMN pull_request_contents.locked IS 'Whether the conversation is locked.';
COMMENT ON COLUMN pull_request_contents.author IS 'Login of the author; none when the account was deleted.';
COMMENT ON COLUMN pull_request_contents.author_kind IS 'User, Bot, Mannequin, Organization or EnterpriseUserAccount.';
COMMENT ON COLUMN pull_request_contents.created_at IS 'When it was opened.';
COMMENT ON COLUMN pull_request_contents.updated_at IS 'GitHub''s own time of the last change; CI, mergeability and edits of comments leave it alone.';
COMMENT ON COLUMN pull_request_contents.closed_at IS 'When it was closed or merged.';
COMMENT ON COLUMN pull_request_contents.merged_at IS 'When it was merged.';
COMMENT ON COLUMN pull_request_contents.merged_by IS 'Login of who merged it.';
COMMENT ON COLUMN pull_request_contents.merge_commit_oid IS 'The commit on the base branch that the merge made.';
COMMENT ON COLUMN pull_request_contents.review_decision IS 'APPROVED, CHANGES_REQUESTED, REVIEW_REQUIRED, or nothing.';
COMMENT ON COLUMN pull_request_contents.base_ref_name IS 'Branch it goes to.';
COMMENT ON COLUMN pull_request_contents.base_ref_oid IS 'Tip of that branch as GitHub holds it for this pull request.';
COMMENT ON COLUMN pull_request_contents.head_ref_name IS 'Branch it comes from.';
COMMENT ON COLUMN pull_request_contents.head_ref_oid IS 'Head commit.';
COMMENT ON COLUMN pull_request_contents.head_repository IS 'owner/name of the repository it comes from; none when that was deleted.';
COMMENT ON COLUMN pull_request_contents.is_cross_repository IS 'Whether it comes from a fork.';
COMMENT ON COLUMN pull_request_contents.maintainer_can_modify IS 'Whether maintainers may push to its branch.';
COMMENT ON COLUMN pull_request_contents.additions IS 'Added lines.';
COMMENT ON COLUMN pull_request_contents.deletions IS 'Deleted lines.';
COMMENT ON COLUMN pull_request_contents.changed_files IS 'Number of changed files; not capped as the list''s total is.';
COMMENT ON COLUMN pull_request_contents.milestone_number IS 'Number of the milestone.';
COMMENT ON COLUMN pull_request_contents.milestone_title IS 'Title of the milestone.';
COMMENT ON COLUMN pull_request_contents.auto_merge_enabled_at IS 'When GitHub was told to merge it by itself.';
COMMENT ON COLUMN pull_request_contents.auto_merge_enabled_by IS 'Login of who told it.';
COMMENT ON COLUMN pull_request_contents.auto_merge_method IS 'MERGE, SQUASH or REBASE.';
COMMENT ON COLUMN pull_request_contents.label_names IS 'Names of the labels, sorted; table labels has the rest.';
COMMENT ON COLUMN pull_request_contents.version IS 'Digest of the content; volatile columns have no part in it.';
COMMENT ON COLUMN pull_request_contents.is_complete IS 'Whether every list is whole; table collections tells which is not.';
COMMENT ON COLUMN pull_request_contents.fingerprint IS 'Digest of the key data, as a poll or a sweep would show it.';
COMMENT ON COLUMN pull_request_contents.total_labels IS 'GitHub''s count of the labels.';
COMMENT ON COLUMN pull_request_contents.total_assignees IS 'GitHub''s count of the assignees.';
COMMENT ON COLUMN pull_request_contents.total_review_requests IS 'GitHub''s count of the requested reviewers.';
COMMENT ON COLUMN pull_request_contents.total_commits IS 'GitHub''s count of the commits.';
COMMENT ON COLUMN pull_request_contents.total_reviews IS 'GitHub''s count of the reviews.';
COMMENT ON COLUMN pull_request_contents.total_review_threads IS 'GitHub''s count of the review threads.';
COMMENT ON COLUMN pull_request_contents.total_comments IS 'GitHub''s count of the comments on the conversation.';
COMMENT ON COLUMN pull_request_contents.total_timeline IS 'GitHub''s count of the timeline items.';
COMMENT ON COLUMN pull_request_contents.total_closing_issues IS 'GitHub''s count of the issues that merging closes.';
COMMENT ON COLUMN pull_request_contents.checks_state IS 'CI of the head commit: SUCCESS, FAILURE, PENDING, ERROR or EXPECTED; none when nothing reported on it.';
COMMENT ON COLUMN pull_request_contents.checks_total IS 'Check runs and status contexts together.';
COMMENT ON COLUMN pull_request_contents.check_run_counts IS 'STATE:count of the check runs, sorted, joined by commas.';
COMMENT ON COLUMN pull_request_contents.status_context_counts IS 'STATE:count of the status contexts, likewise.';
COMMENT ON COLUMN pull_request_contents.contexts_digest IS 'Digest of every context''s id and outcome; none when there are too many for a key-data page.';

CREATE TABLE pull_request_observations (
    repository                 VARCHAR                  NOT NULL,
    number                     BIGINT                   NOT NULL,
    version                    VARCHAR,
    content_updated_at         TIMESTAMP WITH TIME ZONE,
    content_observed_at        TIMESTAMP WITH TIME ZONE,
    confirmed_version          VARCHAR,
    confirmed_at               TIMESTAMP WITH TIME ZONE,
    volatile_observed_at       TIMESTAMP WITH TIME ZONE,
    mergeable                  VARCHAR,
    merge_state_status         VARCHAR,
    potential_merge_commit_oid VARCHAR,
    gone_observed_at           TIMESTAMP WITH TIME ZONE,
    gone_at                    TIMESTAMP WITH TIME ZONE,
    observed_at                TIMESTAMP WITH TIME ZONE,
    landed_at                  TIMESTAMP WITH TIME ZONE NOT NULL,
    source                     VARCHAR,
    lane                       VARCHAR,
    noticed_at                 TIMESTAMP WITH TIME ZONE,
    changed_at                 TIMESTAMP WITH TIME ZONE,
    request                    VARCHAR
);
COMMENT ON TABLE pull_request_observations IS 'When and how each pull request was last observed, one row each, gone ones included; read it through the view pull_requests.';
COMMENT ON COLUMN pull_request_observations.repository IS 'owner/name.';
COMMENT ON COLUMN pull_request_observations.number IS 'Number of the pull request.';
COMMENT ON COLUMN pull_request_observations.version IS 'Digest of the landed content; none when only its absence was observed.';
COMMENT ON COLUMN pull_request_observations.content_updated_at IS 'GitHub''s updatedAt of the landed content.';
COMMENT ON COLUMN pull_request_observations.content_observed_at IS 'When GitHub was asked for the landed content.';
COMMENT ON COLUMN pull_request_observations.confirmed_version IS 'Digest of the content that the newest observation without a change confirmed.';
COMMENT ON COLUMN pull_request_observations.confirmed_at IS 'When GitHub was asked for that confirmation.';
COMMENT ON COLUMN pull_request_observations.volatile_observed_at IS 'When the volatile columns were observed.';
COMMENT ON COLUMN pull_request_observations.mergeable IS 'Volatile: MERGEABLE, CONFLICTING or UNKNOWN; computed lazily by GitHub, never counted as a difference.';
COMMENT ON COLUMN pull_request_observations.merge_state_status IS 'Volatile: CLEAN, BLOCKED, BEHIND, DIRTY, ...';
COMMENT ON COLUMN pull_request_observations.potential_merge_commit_oid IS 'Volatile: the trial merge commit that GitHub keeps ready.';
COMMENT ON COLUMN pull_request_observations.gone_observed_at IS 'When GitHub last answered that there is no such pull request.';
COMMENT ON COLUMN pull_request_observations.gone_at IS 'The same, unless it was seen again later.';
COMMENT ON COLUMN pull_request_observations.observed_at IS 'When GitHub was last asked and the answer was as these columns say.';
COMMENT ON COLUMN pull_request_observations.landed_at IS 'When this row was written.';
COMMENT ON COLUMN pull_request_observations.source IS 'What noticed the change that led to the content: webhook, poll, sweep, backfill, request, finding or recheck.';
COMMENT ON COLUMN pull_request_observations.lane IS 'The queue it waited in: realtime or bulk.';
COMMENT ON COLUMN pull_request_observations.noticed_at IS 'When the change was noticed here.';
COMMENT ON COLUMN pull_request_observations.changed_at IS 'When it changed on GitHub, as far as the source could tell.';
COMMENT ON COLUMN pull_request_observations.request IS 'Message id of the change request.';

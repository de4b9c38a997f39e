-- What polls, sweeps and backfills saw: observations that do not depend on the fetched snapshots, so
-- the mirror can be compared with them; and what the comparison found.

CREATE TABLE inventory (
    repository            VARCHAR                  NOT NULL,
    number                BIGINT                   NOT NULL,
    id                    VARCHAR                  NOT NULL,
    state                 VARCHAR                  NOT NULL,
    is_draft              BOOLEAN                  NOT NULL,
    created_at            TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at            TIMESTAMP WITH TIME ZONE NOT NULL,
    head_ref_oid          VARCHAR                  NOT NULL,
    review_decision       VARCHAR,
    label_names           VARCHAR[]                NOT NULL,
    fingerprint           VARCHAR                  NOT NULL,
    total_labels          BIGINT                   NOT NULL,
    total_assignees       BIGINT                   NOT NULL,
    total_review_requests BIGINT                   NOT NULL,
    changed_files         BIGINT                   NOT NULL,
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
    contexts_digest       VARCHAR,
    observed_at           TIMESTAMP WITH TIME ZONE NOT NULL,
    source                VARCHAR                  NOT NULL,
    scan                  VARCHAR                  NOT NULL
);
COMMENT ON TABLE inventory IS 'The newest key data of each pull request, one row each.';
COMMENT ON COLUMN inventory.repository IS 'owner/name.';
COMMENT ON COLUMN inventory.number IS 'Number of the pull request.';
COMMENT ON COLUMN inventory.id IS 'GraphQL node id.';
COMMENT ON COLUMN inventory.state IS 'OPEN, CLOSED or MERGED.';
COMMENT ON COLUMN inventory.is_draft IS 'Whether it is a draft.';
COMMENT ON COLUMN inventory.created_at IS 'When it was opened.';
COMMENT ON COLUMN inventory.updated_at IS 'GitHub''s time of the last change.';
COMMENT ON COLUMN inventory.head_ref_oid IS 'Head commit.';
COMMENT ON COLUMN inventory.review_decision IS 'Outcome of the reviews.';
COMMENT ON COLUMN inventory.label_names IS 'Names of the labels, sorted.';
COMMENT ON COLUMN inventory.fingerprint IS 'Digest of the key data.';
COMMENT ON COLUMN inventory.total_labels IS 'GitHub''s count of the labels.';
COMMENT ON COLUMN inventory.total_assignees IS 'GitHub''s count of the assignees.';
COMMENT ON COLUMN inventory.total_review_requests IS 'GitHub''s count of the requested reviewers.';
COMMENT ON COLUMN inventory.changed_files IS 'GitHub''s count of the changed files.';
COMMENT ON COLUMN inventory.total_commits IS 'GitHub''s count of the commits.';
COMMENT ON COLUMN inventory.total_reviews IS 'GitHub''s count of the reviews.';
COMMENT ON COLUMN inventory.total_review_threads IS 'GitHub''s count of the review threads.';
COMMENT ON COLUMN inventory.total_comments IS 'GitHub''s count of the comments on the conversation.';
COMMENT ON COLUMN inventory.total_timeline IS 'GitHub''s count of the timeline items.';
COMMENT ON COLUMN inventory.total_closing_issues IS 'GitHub''s count of the issues that merging closes.';
COMMENT ON COLUMN inventory.checks_state IS 'CI of the head commit.';
COMMENT ON COLUMN inventory.checks_total IS 'Check runs and status contexts together.';
COMMENT ON COLUMN inventory.check_run_counts IS 'STATE:count of the check runs, sorted, joined by commas.';
COMMENT ON COLUMN inventory.status_context_counts IS 'STATE:count of the status contexts, likewise.';
COMMENT ON COLUMN inventory.contexts_digest IS 'Digest of every context''s id and outcome; none beyond 100 contexts.';
COMMENT ON COLUMN inventory.observed_at IS 'When GitHub was asked.';
COMMENT ON COLUMN inventory.source IS 'What made the scan: poll, sweep or backfill.';
COMMENT ON COLUMN inventory.scan IS 'Identity of the scan.';

CREATE TABLE scans (
    scan           VARCHAR                  NOT NULL,
    repository     VARCHAR                  NOT NULL,
    source         VARCHAR                  NOT NULL,
    scope          VARCHAR                  NOT NULL,
    started_at     TIMESTAMP WITH TIME ZONE NOT NULL,
    newest_page_at TIMESTAMP WITH TIME ZONE NOT NULL,
    finished_at    TIMESTAMP WITH TIME ZONE,
    pages          VARCHAR                  NOT NULL,
    last_page      BIGINT,
    entries        BIGINT                   NOT NULL,
    total_count    BIGINT                   NOT NULL
);
COMMENT ON TABLE scans IS 'Passes over a repository''s pull requests.';
COMMENT ON COLUMN scans.scan IS 'Identity.';
COMMENT ON COLUMN scans.repository IS 'owner/name.';
COMMENT ON COLUMN scans.source IS 'What made it: poll, sweep or backfill.';
COMMENT ON COLUMN scans.scope IS 'Which pull requests it passes over: recent, open or all.';
COMMENT ON COLUMN scans.started_at IS 'When it began.';
COMMENT ON COLUMN scans.newest_page_at IS 'When the newest page that has landed was asked for.';
COMMENT ON COLUMN scans.finished_at IS 'When its newest page was asked for, once every page has landed; null while pages are missing. Only a finished scan says anything about what it did not list.';
COMMENT ON COLUMN scans.pages IS 'Pages that have landed, as ranges from 0: 0-3,5.';
COMMENT ON COLUMN scans.last_page IS 'Place of the last page, once it has landed.';
COMMENT ON COLUMN scans.entries IS 'Pull requests on the landed pages.';
COMMENT ON COLUMN scans.total_count IS 'GitHub''s count of what is in scope, as the newest page told it.';

CREATE TABLE findings (
    id              VARCHAR                  NOT NULL,
    rule            VARCHAR                  NOT NULL,
    severity        VARCHAR                  NOT NULL,
    repository      VARCHAR                  NOT NULL,
    number          BIGINT                   NOT NULL,
    node_id         VARCHAR,
    reason          VARCHAR                  NOT NULL,
    status          VARCHAR                  NOT NULL,
    opened_at       TIMESTAMP WITH TIME ZONE NOT NULL,
    evidence_at     TIMESTAMP WITH TIME ZONE NOT NULL,
    changed_at      TIMESTAMP WITH TIME ZONE,
    attempts        BIGINT                   NOT NULL,
    next_attempt_at TIMESTAMP WITH TIME ZONE NOT NULL,
    closed_at       TIMESTAMP WITH TIME ZONE
);
COMMENT ON TABLE findings IS 'Differences between the mirror and what was observed, one row for each rule and pull request; closed ones stay.';
COMMENT ON COLUMN findings.id IS 'rule:owner/name#number.';
COMMENT ON COLUMN findings.rule IS 'Code of the rule, see reconcile/.';
COMMENT ON COLUMN findings.severity IS 'info, warning or critical.';
COMMENT ON COLUMN findings.repository IS 'owner/name.';
COMMENT ON COLUMN findings.number IS 'Number of the pull request.';
COMMENT ON COLUMN findings.node_id IS 'GraphQL node id, when known.';
COMMENT ON COLUMN findings.reason IS 'In words, with the values that differ.';
COMMENT ON COLUMN findings.status IS 'open, repair_requested, escalated or closed.';
COMMENT ON COLUMN findings.opened_at IS 'When it was first found, since it was last closed.';
COMMENT ON COLUMN findings.evidence_at IS 'When GitHub was asked for what contradicts the mirror.';
COMMENT ON COLUMN findings.changed_at IS 'When GitHub changed, as far as the inventory tells.';
COMMENT ON COLUMN findings.attempts IS 'How often a repair was asked for.';
COMMENT ON COLUMN findings.next_attempt_at IS 'When the next repair may be asked for.';
COMMENT ON COLUMN findings.closed_at IS 'When it was found to be right again.';

CREATE TABLE finding_history (
    id       VARCHAR                  NOT NULL,
    noted_at TIMESTAMP WITH TIME ZONE NOT NULL,
    status   VARCHAR                  NOT NULL,
    attempt  BIGINT                   NOT NULL,
    reason   VARCHAR                  NOT NULL
);
COMMENT ON TABLE finding_history IS 'What happened to each finding, in order.';
COMMENT ON COLUMN finding_history.id IS 'rule:owner/name#number.';
COMMENT ON COLUMN finding_history.noted_at IS 'When.';
COMMENT ON COLUMN finding_history.status IS 'What it became: open, repair_requested, escalated or closed.';
COMMENT ON COLUMN finding_history.attempt IS 'How often a repair had been asked for.';
COMMENT ON COLUMN finding_history.reason IS 'The reason at that time.';

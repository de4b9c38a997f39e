-- The lists of each pull request: the rows of the landed content, replaced together with it.

CREATE TABLE collections (
    repository   VARCHAR NOT NULL,
    number       BIGINT  NOT NULL,
    collection   VARCHAR NOT NULL,
    completeness VARCHAR NOT NULL,
    total        BIGINT,
    held         BIGINT  NOT NULL
);
COMMENT ON TABLE collections IS 'Whether each list of a pull request is whole.';
COMMENT ON COLUMN collections.repository IS 'owner/name.';
COMMENT ON COLUMN collections.number IS 'Number of the pull request.';
COMMENT ON COLUMN collections.collection IS 'Name of the list: the table it is in, with timeline for timeline_items and checks for check_runs.';
COMMENT ON COLUMN collections.completeness IS 'complete, partial or missing.';
COMMENT ON COLUMN collections.total IS 'GitHub''s totalCount, when it was told.';
COMMENT ON COLUMN collections.held IS 'How many of its nodes are here.';

CREATE TABLE labels (
    repository VARCHAR NOT NULL,
    number     BIGINT  NOT NULL,
    position   BIGINT  NOT NULL,
    name       VARCHAR NOT NULL,
    id         VARCHAR NOT NULL,
    color      VARCHAR NOT NULL
);
COMMENT ON TABLE labels IS 'Labels of each pull request.';
COMMENT ON COLUMN labels.repository IS 'owner/name.';
COMMENT ON COLUMN labels.number IS 'Number of the pull request.';
COMMENT ON COLUMN labels.position IS 'Place in the list, from 0.';
COMMENT ON COLUMN labels.name IS 'Name, unique in the repository.';
COMMENT ON COLUMN labels.id IS 'Node id.';
COMMENT ON COLUMN labels.color IS 'Six hexadecimal digits.';

CREATE TABLE assignees (
    repository VARCHAR NOT NULL,
    number     BIGINT  NOT NULL,
    position   BIGINT  NOT NULL,
    login      VARCHAR NOT NULL
);
COMMENT ON TABLE assignees IS 'Assignees of each pull request.';
COMMENT ON COLUMN assignees.repository IS 'owner/name.';
COMMENT ON COLUMN assignees.number IS 'Number of the pull request.';
COMMENT ON COLUMN assignees.position IS 'Place in the list, from 0.';
COMMENT ON COLUMN assignees.login IS 'Login.';

CREATE TABLE review_requests (
    repository VARCHAR NOT NULL,
    number     BIGINT  NOT NULL,
    position   BIGINT  NOT NULL,
    reviewer   VARCHAR NOT NULL
);
COMMENT ON TABLE review_requests IS 'Who was asked for a review and has not answered.';
COMMENT ON COLUMN review_requests.repository IS 'owner/name.';
COMMENT ON COLUMN review_requests.number IS 'Number of the pull request.';
COMMENT ON COLUMN review_requests.position IS 'Place in the list, from 0.';
COMMENT ON COLUMN review_requests.reviewer IS 'Login, or org/team.';

CREATE TABLE files (
    repository  VARCHAR NOT NULL,
    number      BIGINT  NOT NULL,
    position    BIGINT  NOT NULL,
    path        VARCHAR NOT NULL,
    additions   BIGINT  NOT NULL,
    deletions   BIGINT  NOT NULL,
    change_type VARCHAR
);
COMMENT ON TABLE files IS 'Changed files of each pull request.';
COMMENT ON COLUMN files.repository IS 'owner/name.';
COMMENT ON COLUMN files.number IS 'Number of the pull request.';
COMMENT ON COLUMN files.position IS 'Place in the list, from 0.';
COMMENT ON COLUMN files.path IS 'Path after the change.';
COMMENT ON COLUMN files.additions IS 'Added lines.';
COMMENT ON COLUMN files.deletions IS 'Deleted lines.';
COMMENT ON COLUMN files.change_type IS 'ADDED, MODIFIED, DELETED, RENAMED, COPIED or CHANGED.';

CREATE TABLE commits (
    repository       VARCHAR                  NOT NULL,
    number           BIGINT                   NOT NULL,
    position         BIGINT                   NOT NULL,
    oid              VARCHAR                  NOT NULL,
    authored_date    TIMESTAMP WITH TIME ZONE,
    committed_date   TIMESTAMP WITH TIME ZONE,
    message_headline VARCHAR                  NOT NULL,
    additions        BIGINT                   NOT NULL,
    deletions        BIGINT                   NOT NULL,
    author_name      VARCHAR,
    author_login     VARCHAR
);
COMMENT ON TABLE commits IS 'Commits of each pull request''s current head.';
COMMENT ON COLUMN commits.repository IS 'owner/name.';
COMMENT ON COLUMN commits.number IS 'Number of the pull request.';
COMMENT ON COLUMN commits.position IS 'Place in the list, from 0.';
COMMENT ON COLUMN commits.oid IS 'SHA.';
COMMENT ON COLUMN commits.authored_date IS 'When it was written.';
COMMENT ON COLUMN commits.committed_date IS 'When it was committed.';
COMMENT ON COLUMN commits.message_headline IS 'First line of the message.';
COMMENT ON COLUMN commits.additions IS 'Added lines.';
COMMENT ON COLUMN commits.deletions IS 'Deleted lines.';
COMMENT ON COLUMN commits.author_name IS 'Name in the commit.';
COMMENT ON COLUMN commits.author_login IS 'Login, when GitHub knows whose address it is.';

CREATE TABLE reviews (
    repository   VARCHAR                  NOT NULL,
    number       BIGINT                   NOT NULL,
    position     BIGINT                   NOT NULL,
    id           VARCHAR                  NOT NULL,
    state        VARCHAR                  NOT NULL,
    body         VARCHAR                  NOT NULL,
    author       VARCHAR,
    created_at   TIMESTAMP WITH TIME ZONE,
    submitted_at TIMESTAMP WITH TIME ZONE,
    updated_at   TIMESTAMP WITH TIME ZONE,
    commit_oid   VARCHAR
);
COMMENT ON TABLE reviews IS 'Reviews of each pull request.';
COMMENT ON COLUMN reviews.repository IS 'owner/name.';
COMMENT ON COLUMN reviews.number IS 'Number of the pull request.';
COMMENT ON COLUMN reviews.position IS 'Place in the list, from 0.';
COMMENT ON COLUMN reviews.id IS 'Node id.';
COMMENT ON COLUMN reviews.state IS 'APPROVED, CHANGES_REQUESTED, COMMENTED, DISMISSED or PENDING.';
COMMENT ON COLUMN reviews.body IS 'Text, Markdown.';
COMMENT ON COLUMN reviews.author IS 'Login.';
COMMENT ON COLUMN reviews.created_at IS 'When it was begun.';
COMMENT ON COLUMN reviews.submitted_at IS 'When it was handed in.';
COMMENT ON COLUMN reviews.updated_at IS 'When it was last edited.';
COMMENT ON COLUMN reviews.commit_oid IS 'The commit that was reviewed.';

CREATE TABLE review_threads (
    repository            VARCHAR NOT NULL,
    number                BIGINT  NOT NULL,
    position              BIGINT  NOT NULL,
    id                    VARCHAR NOT NULL,
    is_resolved           BOOLEAN NOT NULL,
    is_outdated           BOOLEAN NOT NULL,
    resolved_by           VARCHAR,
    path                  VARCHAR NOT NULL,
    line                  BIGINT,
    comments_completeness VARCHAR NOT NULL,
    comments_total        BIGINT
);
COMMENT ON TABLE review_threads IS 'Threads on lines of the diff.';
COMMENT ON COLUMN review_threads.repository IS 'owner/name.';
COMMENT ON COLUMN review_threads.number IS 'Number of the pull request.';
COMMENT ON COLUMN review_threads.position IS 'Place in the list, from 0.';
COMMENT ON COLUMN review_threads.id IS 'Node id.';
COMMENT ON COLUMN review_threads.is_resolved IS 'Whether it was marked as done.';
COMMENT ON COLUMN review_threads.is_outdated IS 'Whether the line it hangs on is gone.';
COMMENT ON COLUMN review_threads.resolved_by IS 'Login of who resolved it.';
COMMENT ON COLUMN review_threads.path IS 'File.';
COMMENT ON COLUMN review_threads.line IS 'Line, when it still exists.';
COMMENT ON COLUMN review_threads.comments_completeness IS 'Whether the thread''s comments are whole: complete, partial or missing.';
COMMENT ON COLUMN review_threads.comments_total IS 'GitHub''s count of the thread''s comments.';

CREATE TABLE review_comments (
    repository VARCHAR                  NOT NULL,
    number     BIGINT                   NOT NULL,
    thread_id  VARCHAR                  NOT NULL,
    position   BIGINT                   NOT NULL,
    id         VARCHAR                  NOT NULL,
    body       VARCHAR                  NOT NULL,
    author     VARCHAR,
    created_at TIMESTAMP WITH TIME ZONE,
    updated_at TIMESTAMP WITH TIME ZONE,
    reply_to   VARCHAR
);
COMMENT ON TABLE review_comments IS 'Comments in review threads.';
COMMENT ON COLUMN review_comments.repository IS 'owner/name.';
COMMENT ON COLUMN review_comments.number IS 'Number of the pull request.';
COMMENT ON COLUMN review_comments.thread_id IS 'Node id of the thread.';
COMMENT ON COLUMN review_comments.position IS 'Place in the thread, from 0.';
COMMENT ON COLUMN review_comments.id IS 'Node id.';
COMMENT ON COLUMN review_comments.body IS 'Text, Markdown.';
COMMENT ON COLUMN review_comments.author IS 'Login.';
COMMENT ON COLUMN review_comments.created_at IS 'When it was written.';
COMMENT ON COLUMN review_comments.updated_at IS 'When it was last edited.';
COMMENT ON COLUMN review_comments.reply_to IS 'Node id of the comment it answers.';

CREATE TABLE comments (
    repository VARCHAR                  NOT NULL,
    number     BIGINT                   NOT NULL,
    position   BIGINT                   NOT NULL,
    id         VARCHAR                  NOT NULL,
    body       VARCHAR                  NOT NULL,
    author     VARCHAR,
    created_at TIMESTAMP WITH TIME ZONE,
    updated_at TIMESTAMP WITH TIME ZONE,
    reply_to   VARCHAR
);
COMMENT ON TABLE comments IS 'Comments on the conversation.';
COMMENT ON COLUMN comments.repository IS 'owner/name.';
COMMENT ON COLUMN comments.number IS 'Number of the pull request.';
COMMENT ON COLUMN comments.position IS 'Place in the list, from 0.';
COMMENT ON COLUMN comments.id IS 'Node id.';
COMMENT ON COLUMN comments.body IS 'Text, Markdown.';
COMMENT ON COLUMN comments.author IS 'Login.';
COMMENT ON COLUMN comments.created_at IS 'When it was written.';
COMMENT ON COLUMN comments.updated_at IS 'When it was last edited.';
COMMENT ON COLUMN comments.reply_to IS 'Node id of the comment it answers.';

CREATE TABLE timeline_items (
    repository VARCHAR                  NOT NULL,
    number     BIGINT                   NOT NULL,
    position   BIGINT                   NOT NULL,
    id         VARCHAR                  NOT NULL,
    kind       VARCHAR                  NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE,
    actor      VARCHAR,
    label      VARCHAR,
    subject    VARCHAR,
    before     VARCHAR,
    after      VARCHAR,
    commit_oid VARCHAR,
    milestone  VARCHAR,
    source_url VARCHAR
);
COMMENT ON TABLE timeline_items IS 'Timeline of each pull request; columns that a kind does not have are null.';
COMMENT ON COLUMN timeline_items.repository IS 'owner/name.';
COMMENT ON COLUMN timeline_items.number IS 'Number of the pull request.';
COMMENT ON COLUMN timeline_items.position IS 'Place in the list, from 0.';
COMMENT ON COLUMN timeline_items.id IS 'Node id; empty for a kind that was not known when it landed.';
COMMENT ON COLUMN timeline_items.kind IS 'GitHub''s type name: LabeledEvent, HeadRefForcePushedEvent, ...';
COMMENT ON COLUMN timeline_items.created_at IS 'When it happened.';
COMMENT ON COLUMN timeline_items.actor IS 'Login of who did it.';
COMMENT ON COLUMN timeline_items.label IS 'Label added or removed.';
COMMENT ON COLUMN timeline_items.subject IS 'Who was assigned, or asked for a review: login or org/team.';
COMMENT ON COLUMN timeline_items.before IS 'What it was before: title, branch, or head SHA of a force-push.';
COMMENT ON COLUMN timeline_items.after IS 'What it is after: title, branch, or head SHA of a force-push.';
COMMENT ON COLUMN timeline_items.commit_oid IS 'The commit it is about.';
COMMENT ON COLUMN timeline_items.milestone IS 'Title of the milestone.';
COMMENT ON COLUMN timeline_items.source_url IS 'The issue or pull request at the other end of a reference.';

CREATE TABLE closing_issues (
    repository   VARCHAR NOT NULL,
    number       BIGINT  NOT NULL,
    position     BIGINT  NOT NULL,
    id           VARCHAR NOT NULL,
    issue_number BIGINT  NOT NULL,
    title        VARCHAR NOT NULL,
    url          VARCHAR NOT NULL
);
COMMENT ON TABLE closing_issues IS 'Issues that merging closes.';
COMMENT ON COLUMN closing_issues.repository IS 'owner/name.';
COMMENT ON COLUMN closing_issues.number IS 'Number of the pull request.';
COMMENT ON COLUMN closing_issues.position IS 'Place in the list, from 0.';
COMMENT ON COLUMN closing_issues.id IS 'Node id.';
COMMENT ON COLUMN closing_issues.issue_number IS 'Number in its repository.';
COMMENT ON COLUMN closing_issues.title IS 'Title.';
COMMENT ON COLUMN closing_issues.url IS 'Page on GitHub.';
-- CI by head commit. Rows stay when the head moves on or a check is run again: `superseded_at` tells
-- history from what is current. A head that two pull requests share has a row for each.

CREATE TABLE check_runs (
    repository    VARCHAR                  NOT NULL,
    number        BIGINT                   NOT NULL,
    head_ref_oid  VARCHAR                  NOT NULL,
    id            VARCHAR                  NOT NULL,
    kind          VARCHAR                  NOT NULL,
    name          VARCHAR                  NOT NULL,
    status        VARCHAR                  NOT NULL,
    conclusion    VARCHAR,
    started_at    TIMESTAMP WITH TIME ZONE,
    completed_at  TIMESTAMP WITH TIME ZONE,
    url           VARCHAR,
    description   VARCHAR,
    landed_at     TIMESTAMP WITH TIME ZONE NOT NULL,
    superseded_at TIMESTAMP WITH TIME ZONE
);
COMMENT ON TABLE check_runs IS 'Check runs and status contexts by head commit; those of older heads and earlier runs stay.';
COMMENT ON COLUMN check_runs.repository IS 'owner/name.';
COMMENT ON COLUMN check_runs.number IS 'Number of the pull request.';
COMMENT ON COLUMN check_runs.head_ref_oid IS 'The commit it ran on.';
COMMENT ON COLUMN check_runs.id IS 'Node id; a re-run has a new one.';
COMMENT ON COLUMN check_runs.kind IS 'CheckRun or StatusContext.';
COMMENT ON COLUMN check_runs.name IS 'Name of the check, or the status''s context.';
COMMENT ON COLUMN check_runs.status IS 'COMPLETED, IN_PROGRESS, ... of a check run; the state of a status context.';
COMMENT ON COLUMN check_runs.conclusion IS 'How a check run ended.';
COMMENT ON COLUMN check_runs.started_at IS 'When a check run began, or a status was set.';
COMMENT ON COLUMN check_runs.completed_at IS 'When a check run ended.';
COMMENT ON COLUMN check_runs.url IS 'Where to read more.';
COMMENT ON COLUMN check_runs.description IS 'A status context''s text.';
COMMENT ON COLUMN check_runs.landed_at IS 'When it landed so.';
COMMENT ON COLUMN check_runs.superseded_at IS 'When it was first seen not to be current any more; null while it is.';

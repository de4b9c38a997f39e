-- What only grows: the versions each pull request went through, what happened, and what went wrong.

CREATE TABLE version_log (
    repository       VARCHAR                  NOT NULL,
    number           BIGINT                   NOT NULL,
    kind             VARCHAR                  NOT NULL,
    version          VARCHAR                  NOT NULL,
    observed_at      TIMESTAMP WITH TIME ZONE NOT NULL,
    landed_at        TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at       TIMESTAMP WITH TIME ZONE,
    state            VARCHAR,
    is_draft         BOOLEAN,
    title            VARCHAR,
    head_ref_oid     VARCHAR,
    base_ref_name    VARCHAR,
    review_decision  VARCHAR,
    milestone_title  VARCHAR,
    label_names      VARCHAR[],
    assignees        VARCHAR[],
    checks_state     VARCHAR,
    check_run_counts VARCHAR,
    is_complete      BOOLEAN,
    events           BIGINT                   NOT NULL,
    source           VARCHAR                  NOT NULL,
    lane             VARCHAR                  NOT NULL,
    noticed_at       TIMESTAMP WITH TIME ZONE NOT NULL,
    changed_at       TIMESTAMP WITH TIME ZONE,
    request          VARCHAR                  NOT NULL
);
COMMENT ON TABLE version_log IS 'Every content that a pull request was seen with, and its disappearances; read it through the view pull_request_versions.';
COMMENT ON COLUMN version_log.repository IS 'owner/name.';
COMMENT ON COLUMN version_log.number IS 'Number of the pull request.';
COMMENT ON COLUMN version_log.kind IS 'new, changed or gone.';
COMMENT ON COLUMN version_log.version IS 'Digest of the content; empty when gone.';
COMMENT ON COLUMN version_log.observed_at IS 'When GitHub was asked.';
COMMENT ON COLUMN version_log.landed_at IS 'When it landed.';
COMMENT ON COLUMN version_log.updated_at IS 'GitHub''s updatedAt.';
COMMENT ON COLUMN version_log.state IS 'OPEN, CLOSED or MERGED.';
COMMENT ON COLUMN version_log.is_draft IS 'Whether it was a draft.';
COMMENT ON COLUMN version_log.title IS 'Title.';
COMMENT ON COLUMN version_log.head_ref_oid IS 'Head commit.';
COMMENT ON COLUMN version_log.base_ref_name IS 'Branch it goes to.';
COMMENT ON COLUMN version_log.review_decision IS 'Outcome of the reviews.';
COMMENT ON COLUMN version_log.milestone_title IS 'Milestone.';
COMMENT ON COLUMN version_log.label_names IS 'Names of the labels, sorted.';
COMMENT ON COLUMN version_log.assignees IS 'Logins of the assignees, sorted.';
COMMENT ON COLUMN version_log.checks_state IS 'CI of the head commit.';
COMMENT ON COLUMN version_log.check_run_counts IS 'STATE:count of the check runs.';
COMMENT ON COLUMN version_log.is_complete IS 'Whether every list was whole.';
COMMENT ON COLUMN version_log.events IS 'How many events led to it.';
COMMENT ON COLUMN version_log.source IS 'What noticed the change.';
COMMENT ON COLUMN version_log.lane IS 'The queue it waited in.';
COMMENT ON COLUMN version_log.noticed_at IS 'When it was noticed here.';
COMMENT ON COLUMN version_log.changed_at IS 'When it changed on GitHub, as far as the source could tell.';
COMMENT ON COLUMN version_log.request IS 'Message id of the change request.';

CREATE TABLE events (
    id          VARCHAR                  NOT NULL,
    repository  VARCHAR                  NOT NULL,
    number      BIGINT                   NOT NULL,
    kind        VARCHAR                  NOT NULL,
    occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    landed_at   TIMESTAMP WITH TIME ZONE NOT NULL,
    actor       VARCHAR,
    version     VARCHAR                  NOT NULL,
    data        JSON                     NOT NULL
);
COMMENT ON TABLE events IS 'What happened to each pull request, as on the public feed; one row an event.';
COMMENT ON COLUMN events.id IS 'Identity: two ways to notice what happened give one event.';
COMMENT ON COLUMN events.repository IS 'owner/name.';
COMMENT ON COLUMN events.number IS 'Number of the pull request.';
COMMENT ON COLUMN events.kind IS 'labeled, head_force_pushed, ci_failed, ...';
COMMENT ON COLUMN events.occurred_at IS 'When it happened, as far as GitHub tells; else when it was observed.';
COMMENT ON COLUMN events.observed_at IS 'When GitHub was asked.';
COMMENT ON COLUMN events.landed_at IS 'When it landed.';
COMMENT ON COLUMN events.actor IS 'Login of who did it, when known.';
COMMENT ON COLUMN events.version IS 'Digest of the content it was first seen in; empty when gone.';
COMMENT ON COLUMN events.data IS 'What happened, as on the feed.';

CREATE TABLE quarantine (
    message_id       VARCHAR                  NOT NULL,
    sequence         BIGINT                   NOT NULL,
    stage            VARCHAR                  NOT NULL,
    code             VARCHAR                  NOT NULL,
    reason           VARCHAR                  NOT NULL,
    repository       VARCHAR,
    number           BIGINT,
    original_subject VARCHAR                  NOT NULL,
    original_headers JSON                     NOT NULL,
    body_bytes       BIGINT                   NOT NULL,
    deliveries       BIGINT                   NOT NULL,
    quarantined_at   TIMESTAMP WITH TIME ZONE NOT NULL
);
COMMENT ON TABLE quarantine IS 'What could not be processed; the message itself stays on the quarantine stream.';
COMMENT ON COLUMN quarantine.message_id IS 'Message id on the quarantine stream.';
COMMENT ON COLUMN quarantine.sequence IS 'Stream sequence there.';
COMMENT ON COLUMN quarantine.stage IS 'The stage that gave up.';
COMMENT ON COLUMN quarantine.code IS 'The reason''s code.';
COMMENT ON COLUMN quarantine.reason IS 'The reason in words.';
COMMENT ON COLUMN quarantine.repository IS 'owner/name, when it is known.';
COMMENT ON COLUMN quarantine.number IS 'Number of the pull request, when it is known.';
COMMENT ON COLUMN quarantine.original_subject IS 'Subject of the message that could not be processed.';
COMMENT ON COLUMN quarantine.original_headers IS 'Its headers.';
COMMENT ON COLUMN quarantine.body_bytes IS 'Size of its body.';
COMMENT ON COLUMN quarantine.deliveries IS 'How often it was delivered.';
COMMENT ON COLUMN quarantine.quarantined_at IS 'When it was set aside.';

CREATE TABLE api_cost (
    id            VARCHAR                  NOT NULL,
    stage         VARCHAR                  NOT NULL,
    repository    VARCHAR                  NOT NULL,
    lane          VARCHAR,
    operation     VARCHAR                  NOT NULL,
    token         VARCHAR                  NOT NULL,
    sent_at       TIMESTAMP WITH TIME ZONE NOT NULL,
    elapsed_ms    BIGINT                   NOT NULL,
    points        BIGINT,
    remaining     BIGINT,
    points_limit  BIGINT,
    reset_at      TIMESTAMP WITH TIME ZONE,
    bytes         BIGINT                   NOT NULL,
    pull_requests BIGINT                   NOT NULL,
    outcome       VARCHAR                  NOT NULL
);
COMMENT ON TABLE api_cost IS 'What each request to GitHub cost.';
COMMENT ON COLUMN api_cost.id IS 'Identity of the request.';
COMMENT ON COLUMN api_cost.stage IS 'The stage that asked.';
COMMENT ON COLUMN api_cost.repository IS 'What it asked about: owner/name.';
COMMENT ON COLUMN api_cost.lane IS 'The queue it worked for; polls and sweeps belong to none.';
COMMENT ON COLUMN api_cost.operation IS 'Name of the GraphQL operation, or method and path.';
COMMENT ON COLUMN api_cost.token IS 'Which token, as the first 8 digits of its digest.';
COMMENT ON COLUMN api_cost.sent_at IS 'When it was sent.';
COMMENT ON COLUMN api_cost.elapsed_ms IS 'How long the answer took, in milliseconds.';
COMMENT ON COLUMN api_cost.points IS 'GitHub''s price in points; none when the answer did not say.';
COMMENT ON COLUMN api_cost.remaining IS 'Points left in this hour.';
COMMENT ON COLUMN api_cost.points_limit IS 'Points an hour.';
COMMENT ON COLUMN api_cost.reset_at IS 'When the hour ends.';
COMMENT ON COLUMN api_cost.bytes IS 'Bytes of the answer.';
COMMENT ON COLUMN api_cost.pull_requests IS 'Pull requests asked about.';
COMMENT ON COLUMN api_cost.outcome IS 'ok, or the code of what went wrong.';

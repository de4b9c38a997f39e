-- What was read from GitHub again and compared with the tables, field by field; and what was done about
-- what had been set aside.

CREATE TABLE verifications (
    run         VARCHAR                  NOT NULL,
    repository  VARCHAR                  NOT NULL,
    number      BIGINT                   NOT NULL,
    node_id     VARCHAR,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    version     VARCHAR,
    fields      BIGINT                   NOT NULL,
    differences BIGINT                   NOT NULL
);
COMMENT ON TABLE verifications IS 'Pull requests that were read from GitHub again, on a path of its own, and compared with the tables: one row for each run and pull request.';
COMMENT ON COLUMN verifications.run IS 'Identity of the run.';
COMMENT ON COLUMN verifications.repository IS 'owner/name.';
COMMENT ON COLUMN verifications.number IS 'Number of the pull request.';
COMMENT ON COLUMN verifications.node_id IS 'GraphQL node id, when GitHub told it.';
COMMENT ON COLUMN verifications.observed_at IS 'When GitHub was asked.';
COMMENT ON COLUMN verifications.version IS 'Version of the landed content that was compared; null when nothing had landed.';
COMMENT ON COLUMN verifications.fields IS 'Fields that were compared.';
COMMENT ON COLUMN verifications.differences IS 'Those that were not as GitHub said.';

CREATE TABLE verification_differences (
    run         VARCHAR                  NOT NULL,
    repository  VARCHAR                  NOT NULL,
    number      BIGINT                   NOT NULL,
    observed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    table_name  VARCHAR                  NOT NULL,
    row_key     VARCHAR                  NOT NULL,
    column_name VARCHAR,
    landed      VARCHAR,
    github      VARCHAR
);
COMMENT ON TABLE verification_differences IS 'Fields that a verification found not to be as GitHub said, one row each.';
COMMENT ON COLUMN verification_differences.run IS 'Identity of the run.';
COMMENT ON COLUMN verification_differences.repository IS 'owner/name.';
COMMENT ON COLUMN verification_differences.number IS 'Number of the pull request.';
COMMENT ON COLUMN verification_differences.observed_at IS 'When GitHub was asked.';
COMMENT ON COLUMN verification_differences.table_name IS 'The table.';
COMMENT ON COLUMN verification_differences.row_key IS 'Key of the row within the pull request; empty for the pull request itself.';
COMMENT ON COLUMN verification_differences.column_name IS 'The column; null when the whole row is missing or too much.';
COMMENT ON COLUMN verification_differences.landed IS 'What had landed, as text; null when there was nothing.';
COMMENT ON COLUMN verification_differences.github IS 'What GitHub said, as text; null when there was nothing.';

CREATE TABLE quarantine_decisions (
    sequence   BIGINT                   NOT NULL,
    message_id VARCHAR                  NOT NULL,
    stage      VARCHAR                  NOT NULL,
    decision   VARCHAR                  NOT NULL,
    reason     VARCHAR,
    decided_at TIMESTAMP WITH TIME ZONE NOT NULL
);
COMMENT ON TABLE quarantine_decisions IS 'What was done about what had been set aside; nothing leaves the quarantine without one.';
COMMENT ON COLUMN quarantine_decisions.sequence IS 'Stream sequence, in the quarantine, of what had been set aside.';
COMMENT ON COLUMN quarantine_decisions.message_id IS 'Its message id, as in quarantine.';
COMMENT ON COLUMN quarantine_decisions.stage IS 'The stage that had set it aside.';
COMMENT ON COLUMN quarantine_decisions.decision IS 'released (handed to its stage again) or dropped (not to be processed).';
COMMENT ON COLUMN quarantine_decisions.reason IS 'Why, in words.';
COMMENT ON COLUMN quarantine_decisions.decided_at IS 'When.';

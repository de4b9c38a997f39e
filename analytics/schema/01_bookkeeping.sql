-- What the mirror knows about itself: its shape, and how far each stream has landed.
-- Times are TIMESTAMP WITH TIME ZONE: instants, shown in the session's time zone (this crate sets UTC).
-- No table has a primary key or an index: uniqueness is kept by the one writer, see land/.

CREATE TABLE schema_version (
    version    INTEGER                  NOT NULL,
    applied_at TIMESTAMP WITH TIME ZONE NOT NULL,
    build      VARCHAR                  NOT NULL
);
COMMENT ON TABLE schema_version IS 'Versions of this schema that were applied to the file, in order.';
COMMENT ON COLUMN schema_version.version IS 'Version; the highest one is the file''s.';
COMMENT ON COLUMN schema_version.applied_at IS 'When it was applied.';
COMMENT ON COLUMN schema_version.build IS 'Version of the program that applied it.';

CREATE TABLE stream_positions (
    stream              VARCHAR                  NOT NULL,
    first_sequence      BIGINT                   NOT NULL,
    last_sequence       BIGINT                   NOT NULL,
    newest_published_at TIMESTAMP WITH TIME ZONE NOT NULL
);
COMMENT ON TABLE stream_positions IS 'Which messages have landed, as ranges of stream sequences; written in the transaction that lands them.';
COMMENT ON COLUMN stream_positions.stream IS 'JetStream stream.';
COMMENT ON COLUMN stream_positions.first_sequence IS 'First stream sequence of the range.';
COMMENT ON COLUMN stream_positions.last_sequence IS 'Last stream sequence of the range, inclusive.';
COMMENT ON COLUMN stream_positions.newest_published_at IS 'The newest time of publication landed from the stream; a landed sequence with a newer time shows that the stream was made anew.';

CREATE TABLE repositories (
    repository      VARCHAR                  NOT NULL,
    repository_id   VARCHAR                  NOT NULL,
    first_landed_at TIMESTAMP WITH TIME ZONE NOT NULL
);
COMMENT ON TABLE repositories IS 'Repositories of which something has landed.';
COMMENT ON COLUMN repositories.repository IS 'owner/name.';
COMMENT ON COLUMN repositories.repository_id IS 'GraphQL node id; it survives a rename.';
COMMENT ON COLUMN repositories.first_landed_at IS 'When its first pull request landed.';

-- Backfills and their chunks, as detect-changes reports them. What decides is the state that it keeps
-- in the bucket prmirror_backfills; these rows are its history.

CREATE TABLE backfills (
    repository         VARCHAR                  NOT NULL,
    backfill           VARCHAR                  NOT NULL,
    status             VARCHAR                  NOT NULL,
    reason             VARCHAR,
    resume_at          TIMESTAMP WITH TIME ZONE,
    started_at         TIMESTAMP WITH TIME ZONE NOT NULL,
    walked_at          TIMESTAMP WITH TIME ZONE,
    completed_at       TIMESTAMP WITH TIME ZONE,
    last_cursor        VARCHAR,
    pages              BIGINT                   NOT NULL,
    processed          BIGINT                   NOT NULL,
    total              BIGINT,
    done               BIGINT                   NOT NULL,
    chunks_made        BIGINT                   NOT NULL,
    chunks_completed   BIGINT                   NOT NULL,
    chunks_failed      BIGINT                   NOT NULL,
    chunk_size         BIGINT,
    max_chunks         BIGINT,
    run_started_at     TIMESTAMP WITH TIME ZONE,
    run_done           BIGINT                   NOT NULL,
    run_chunks         BIGINT                   NOT NULL,
    consecutive_errors BIGINT                   NOT NULL,
    last_error         VARCHAR,
    reported_at        TIMESTAMP WITH TIME ZONE NOT NULL
);
COMMENT ON TABLE backfills IS 'Every backfill, one row each, as it was last reported.';
COMMENT ON COLUMN backfills.repository IS 'owner/name.';
COMMENT ON COLUMN backfills.backfill IS 'Identity; also that of the scan of its pages.';
COMMENT ON COLUMN backfills.status IS 'active, rate_limit_low, paused, completed, failed or replaced (by another one that was started).';
COMMENT ON COLUMN backfills.reason IS 'Why it stands there: who paused it, what broke.';
COMMENT ON COLUMN backfills.resume_at IS 'When a pause ends by itself, or the next run begins.';
COMMENT ON COLUMN backfills.started_at IS 'When it began.';
COMMENT ON COLUMN backfills.walked_at IS 'When its last chunk was handed on for the first time.';
COMMENT ON COLUMN backfills.completed_at IS 'When its last chunk was done with.';
COMMENT ON COLUMN backfills.last_cursor IS 'GitHub''s cursor of the next page; null before the first page and after the last.';
COMMENT ON COLUMN backfills.pages IS 'Pages listed.';
COMMENT ON COLUMN backfills.processed IS 'Pull requests listed.';
COMMENT ON COLUMN backfills.total IS 'Pull requests there are, as the newest page told.';
COMMENT ON COLUMN backfills.done IS 'Pull requests of completed chunks.';
COMMENT ON COLUMN backfills.chunks_made IS 'Chunks made.';
COMMENT ON COLUMN backfills.chunks_completed IS 'Chunks of which every pull request has landed, is gone, or was set aside.';
COMMENT ON COLUMN backfills.chunks_failed IS 'Chunks that were given up.';
COMMENT ON COLUMN backfills.chunk_size IS 'Pull requests a chunk, when a person chose it.';
COMMENT ON COLUMN backfills.max_chunks IS 'Chunks a run, when they are limited.';
COMMENT ON COLUMN backfills.run_started_at IS 'When the present run began.';
COMMENT ON COLUMN backfills.run_done IS 'done when it began.';
COMMENT ON COLUMN backfills.run_chunks IS 'Chunks handed on in it.';
COMMENT ON COLUMN backfills.consecutive_errors IS 'Failures in a row.';
COMMENT ON COLUMN backfills.last_error IS 'What went wrong last.';
COMMENT ON COLUMN backfills.reported_at IS 'When it was so.';

CREATE TABLE backfill_chunks (
    repository   VARCHAR                  NOT NULL,
    backfill     VARCHAR                  NOT NULL,
    chunk        BIGINT                   NOT NULL,
    status       VARCHAR                  NOT NULL,
    numbers      BIGINT[]                 NOT NULL,
    listed_at    TIMESTAMP WITH TIME ZONE NOT NULL,
    started_at   TIMESTAMP WITH TIME ZONE,
    completed_at TIMESTAMP WITH TIME ZONE,
    retries      BIGINT                   NOT NULL,
    error        VARCHAR,
    reported_at  TIMESTAMP WITH TIME ZONE NOT NULL
);
COMMENT ON TABLE backfill_chunks IS 'Every chunk of every backfill, one row each, as it was last reported.';
COMMENT ON COLUMN backfill_chunks.repository IS 'owner/name.';
COMMENT ON COLUMN backfill_chunks.backfill IS 'Identity of the backfill.';
COMMENT ON COLUMN backfill_chunks.chunk IS 'Its place in the backfill, from 0.';
COMMENT ON COLUMN backfill_chunks.status IS 'pending, processing, completed or failed.';
COMMENT ON COLUMN backfill_chunks.numbers IS 'Numbers of its pull requests.';
COMMENT ON COLUMN backfill_chunks.listed_at IS 'When GitHub was asked for the page that listed them.';
COMMENT ON COLUMN backfill_chunks.started_at IS 'When it was handed on, the last time.';
COMMENT ON COLUMN backfill_chunks.completed_at IS 'When it was found to be done with.';
COMMENT ON COLUMN backfill_chunks.retries IS 'How often it was handed on again.';
COMMENT ON COLUMN backfill_chunks.error IS 'What went wrong with it last.';
COMMENT ON COLUMN backfill_chunks.reported_at IS 'When it was so.';

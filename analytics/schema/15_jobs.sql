-- Jobs, as they report themselves: processes of the stages, and what works for the mirror elsewhere.

CREATE TABLE job_reports (
    job                 VARCHAR                  NOT NULL,
    kind                VARCHAR                  NOT NULL,
    stage               VARCHAR                  NOT NULL,
    lanes               VARCHAR[]                NOT NULL,
    status              VARCHAR                  NOT NULL,
    reason              VARCHAR,
    started_at          TIMESTAMP WITH TIME ZONE NOT NULL,
    finished_at         TIMESTAMP WITH TIME ZONE,
    done                BIGINT                   NOT NULL,
    remaining           BIGINT,
    workflow_repository VARCHAR,
    workflow_run        BIGINT,
    workflow_attempt    BIGINT,
    workflow_url        VARCHAR,
    reported_at         TIMESTAMP WITH TIME ZONE NOT NULL
);
COMMENT ON TABLE job_reports IS 'Every job that reported itself, one row each, as it did last; the view jobs says how each stands.';
COMMENT ON COLUMN job_reports.job IS 'Identity of the job.';
COMMENT ON COLUMN job_reports.kind IS 'stage (a process that runs until it is told to end), drain (one that works a queue down and ends) or workflow (the run on GitHub that a drain was in, as GitHub told of its end).';
COMMENT ON COLUMN job_reports.stage IS 'The stage whose work it does.';
COMMENT ON COLUMN job_reports.lanes IS 'Queues that it works on, where there are several.';
COMMENT ON COLUMN job_reports.status IS 'running, completed, incomplete (it ended and left something), failed or cancelled.';
COMMENT ON COLUMN job_reports.reason IS 'Why, when that needs a word.';
COMMENT ON COLUMN job_reports.started_at IS 'When it began.';
COMMENT ON COLUMN job_reports.finished_at IS 'When it ended.';
COMMENT ON COLUMN job_reports.done IS 'Messages that it dealt with.';
COMMENT ON COLUMN job_reports.remaining IS 'Messages that wait for it or that it left; null when that is not known.';
COMMENT ON COLUMN job_reports.workflow_repository IS 'owner/name of the workflow on GitHub that it runs in; null elsewhere.';
COMMENT ON COLUMN job_reports.workflow_run IS 'GitHub''s number of the run.';
COMMENT ON COLUMN job_reports.workflow_attempt IS 'Which attempt at it, from 1.';
COMMENT ON COLUMN job_reports.workflow_url IS 'Where people look at it.';
COMMENT ON COLUMN job_reports.reported_at IS 'When it was so: at its beginning, every minute, and at its end.';

-- What numbers are that no list of pull requests shows.

CREATE TABLE explained_numbers (
    repository   VARCHAR                  NOT NULL,
    kind         VARCHAR                  NOT NULL,
    first_number BIGINT                   NOT NULL,
    last_number  BIGINT                   NOT NULL,
    observed_at  TIMESTAMP WITH TIME ZONE NOT NULL
);
COMMENT ON TABLE explained_numbers IS 'Numbers that are no pull requests, as GitHub said when it was asked; consecutive ones are a row.';
COMMENT ON COLUMN explained_numbers.repository IS 'owner/name.';
COMMENT ON COLUMN explained_numbers.kind IS 'issue; or gone: GitHub shows nothing there, as it was deleted or never given.';
COMMENT ON COLUMN explained_numbers.first_number IS 'The first number.';
COMMENT ON COLUMN explained_numbers.last_number IS 'The last number, which may be the first.';
COMMENT ON COLUMN explained_numbers.observed_at IS 'When GitHub was asked.';

-- Which numbers were listed and which have landed, 64 to a row, each a bit. Rules that look for the few among
-- millions compare these, and read the rows of a block only where it is not as it should be.
CREATE OR REPLACE VIEW number_blocks AS
WITH lists AS (
    SELECT
        repository,
        number >> 6 AS block,
        bit_or(1::UBIGINT << (number & 63)::UBIGINT) AS listed,
        min(observed_at) AS oldest_observed_at
    FROM inventory
    GROUP BY repository, block
),
landings AS (
    SELECT
        repository,
        number >> 6 AS block,
        bit_or(1::UBIGINT << (number & 63)::UBIGINT) FILTER (version IS NOT NULL AND gone_at IS NULL) AS landed,
        bit_or(1::UBIGINT << (number & 63)::UBIGINT) FILTER (version IS NULL OR gone_at IS NOT NULL) AS not_landed
    FROM pull_request_observations
    GROUP BY repository, block
)
SELECT
    repository,
    block,
    coalesce(lists.listed, 0) AS listed,
    lists.oldest_observed_at,
    coalesce(landings.landed, 0) AS landed,
    coalesce(landings.not_landed, 0) AS not_landed
FROM lists
FULL OUTER JOIN landings USING (repository, block);
COMMENT ON VIEW number_blocks IS 'Which numbers were listed and which have landed, 64 to a row.';
COMMENT ON COLUMN number_blocks.repository IS 'owner/name.';
COMMENT ON COLUMN number_blocks.block IS 'The numbers from 64 times this on.';
COMMENT ON COLUMN number_blocks.listed IS 'Those that a poll, sweep or backfill listed: a bit each, the lowest number''s the lowest.';
COMMENT ON COLUMN number_blocks.oldest_observed_at IS 'When GitHub was asked for the oldest inventory among them; null when none was listed.';
COMMENT ON COLUMN number_blocks.landed IS 'Those that are landed, likewise.';
COMMENT ON COLUMN number_blocks.not_landed IS 'Those that were observed and are not landed, likewise: they are gone, or nothing of theirs is here.';

-- Numbers that nobody has explained. Blocks of a thousand in which every number was shown are not looked
-- into.
CREATE OR REPLACE VIEW unexplained_numbers AS
WITH swept AS (
    SELECT
        repository,
        max(started_at) AS swept_at,
        max(started_at) FILTER (finished_at <= coalesce(getvariable('now'), now()) - INTERVAL 1 HOUR) AS settled_at
    FROM scans
    WHERE source = 'sweep' AND scope = 'all' AND finished_at IS NOT NULL
    GROUP BY repository
),
-- What was opened while the sweep was under way need not have been shown by it.
shown AS (
    SELECT
        inventory.repository,
        inventory.number // 1000 AS block,
        count(*) FILTER (inventory.created_at <= swept.swept_at) AS numbers,
        max(inventory.number) FILTER (inventory.created_at <= swept.swept_at) AS newest,
        max(inventory.number) FILTER (inventory.created_at <= swept.settled_at) AS settled
    FROM inventory
    JOIN swept USING (repository)
    GROUP BY inventory.repository, block
),
ends AS (
    SELECT repository, max(newest) AS newest, max(settled) AS settled
    FROM shown
    GROUP BY repository
),
blocks AS (
    SELECT
        repository,
        settled,
        block,
        greatest(block * 1000, 1) AS first_number,
        least(block * 1000 + 999, newest) AS last_number
    FROM (SELECT repository, newest, settled, unnest(range(0, newest // 1000 + 1)) AS block FROM ends)
),
numbers AS (
    SELECT
        blocks.repository,
        blocks.settled,
        unnest(range(blocks.first_number, blocks.last_number + 1)) AS number
    FROM blocks
    LEFT JOIN shown USING (repository, block)
    WHERE coalesce(shown.numbers, 0) < blocks.last_number - blocks.first_number + 1
),
explained AS (
    SELECT repository, unnest(range(first_number, last_number + 1)) AS number
    FROM explained_numbers
)
SELECT
    numbers.repository,
    numbers.number,
    coalesce(numbers.number <= numbers.settled, false) AS is_settled,
    swept.swept_at
FROM numbers
JOIN swept USING (repository)
ANTI JOIN inventory USING (repository, number)
-- Landed, or found to be gone.
ANTI JOIN pull_request_observations USING (repository, number)
ANTI JOIN explained USING (repository, number);
COMMENT ON VIEW unexplained_numbers IS 'Numbers up to the newest pull request that no list has shown, that have not landed, and of which nobody knows that they are issues or gone.';
COMMENT ON COLUMN unexplained_numbers.repository IS 'owner/name.';
COMMENT ON COLUMN unexplained_numbers.number IS 'The number.';
COMMENT ON COLUMN unexplained_numbers.is_settled IS 'Whether a sweep of everything that ended an hour ago should have shown it.';
COMMENT ON COLUMN unexplained_numbers.swept_at IS 'When the newest sweep of everything began.';

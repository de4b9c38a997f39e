-- code: stubborn
-- severity: warning
-- precedence: 120
-- gap: no
-- repair: none
-- reason: whole answers about the pull request failed again and again; it is fetched in small pieces
-- remedy: none here: it is tried again by itself, and is stubborn no more once it was whole
SELECT
    stubborn.repository,
    stubborn.number,
    coalesce(contents.id, inventory.id) AS node_id,
    format('{} failures since {}; the last: {}', stubborn.attempts, utc(stubborn.since), stubborn.last_error) AS reason,
    NULL::TIMESTAMP WITH TIME ZONE AS changed_at,
    stubborn.since AS evidence_at
FROM stubborn
LEFT JOIN (FROM pull_request_contents SEMI JOIN stubborn USING (repository, number)) AS contents
    USING (repository, number)
LEFT JOIN (FROM inventory SEMI JOIN stubborn USING (repository, number)) AS inventory USING (repository, number)

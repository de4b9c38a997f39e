-- Each repository in one row, as `prmirror status` shows it.
CREATE OR REPLACE VIEW repository_status AS
WITH lacking AS (
    -- What GitHub never tells is not lacking here.
    SELECT DISTINCT repository, number, true AS is_lacking
    FROM collections
    ANTI JOIN capped_lists USING (repository, number, collection)
    WHERE completeness <> 'complete'
),
contents AS (
    SELECT
        repository,
        count(*) FILTER (gone_at IS NULL) AS landed,
        count(*) FILTER (gone_at IS NULL AND state = 'OPEN') AS open,
        count(*) FILTER (gone_at IS NULL AND state = 'CLOSED') AS closed,
        count(*) FILTER (gone_at IS NULL AND state = 'MERGED') AS merged,
        count(*) FILTER (gone_at IS NULL AND NOT is_complete AND is_lacking) AS incomplete
    FROM pull_requests
    LEFT JOIN lacking USING (repository, number)
    GROUP BY repository
),
observations AS (
    SELECT repository, count(gone_at) AS gone, max(landed_at) AS last_landed_at
    FROM pull_request_observations
    GROUP BY repository
),
listed AS (
    SELECT repository, count(*) AS listed, max(observed_at) AS last_listed_at
    FROM inventory
    GROUP BY repository
),
passes AS (
    SELECT
        repository,
        max(finished_at) FILTER (scope IN ('open', 'all')) AS last_sweep_at,
        max(started_at) FILTER (scope = 'all' AND source = 'sweep' AND finished_at IS NOT NULL) AS last_full_sweep_started_at,
        arg_max(total_count, started_at) FILTER (scope IN ('all', 'recent')) AS total_count
    FROM scans
    GROUP BY repository
),
found AS (
    SELECT
        repository,
        coalesce(sum(found) FILTER (is_gap), 0)::BIGINT AS findings,
        map_from_entries(list((rule, found) ORDER BY rule) FILTER (is_gap)) AS findings_by_rule,
        map_from_entries(list((rule, numbers) ORDER BY rule) FILTER (is_gap)) AS numbers_by_rule,
        map_from_entries(list((rule, found) ORDER BY rule) FILTER (NOT is_gap)) AS notes_by_rule
    FROM (
        SELECT repository, rule, is_gap, count(*) AS found, coalesce(min(number, 5) FILTER (number > 0), []) AS numbers
        FROM open_findings
        GROUP BY repository, rule, is_gap
    )
    GROUP BY repository
),
quarantined AS (
    SELECT repository, count(*) AS quarantined
    FROM open_quarantine
    WHERE repository IS NOT NULL
    GROUP BY repository
),
happened AS (
    SELECT repository, count(*) AS events FROM events GROUP BY repository
),
versions AS (
    SELECT repository, count(*) AS versions FROM version_log WHERE kind <> 'gone' GROUP BY repository
),
names AS (
    SELECT repository FROM observations
    UNION SELECT repository FROM listed
    UNION SELECT repository FROM passes
    UNION SELECT repository FROM found
    UNION SELECT repository FROM quarantined
)
SELECT
    names.repository,
    coalesce(contents.landed, 0) AS landed,
    coalesce(contents.open, 0) AS open,
    coalesce(contents.closed, 0) AS closed,
    coalesce(contents.merged, 0) AS merged,
    coalesce(observations.gone, 0) AS gone,
    coalesce(listed.listed, 0) AS listed,
    passes.total_count,
    coalesce(completeness.known, 0) AS known,
    coalesce(completeness.missing, 0) AS missing,
    coalesce(completeness.different, 0) AS different,
    coalesce(contents.incomplete, 0) AS incomplete,
    coalesce(completeness.percent, 0) AS completeness_percent,
    coalesce(found.findings, 0) AS findings,
    found.findings_by_rule,
    found.numbers_by_rule,
    found.notes_by_rule,
    coalesce(quarantined.quarantined, 0) AS quarantined,
    coalesce(versions.versions, 0) AS versions,
    coalesce(happened.events, 0) AS events,
    passes.last_sweep_at,
    passes.last_full_sweep_started_at,
    listed.last_listed_at,
    observations.last_landed_at
FROM names
LEFT JOIN contents USING (repository)
LEFT JOIN observations USING (repository)
LEFT JOIN listed USING (repository)
LEFT JOIN passes USING (repository)
LEFT JOIN completeness USING (repository)
LEFT JOIN found USING (repository)
LEFT JOIN quarantined USING (repository)
LEFT JOIN versions USING (repository)
LEFT JOIN happened USING (repository);
COMMENT ON VIEW repository_status IS 'Each repository in one row, as prmirror status shows it.';
COMMENT ON COLUMN repository_status.repository IS 'owner/name.';
COMMENT ON COLUMN repository_status.landed IS 'Pull requests that are landed and not gone.';
COMMENT ON COLUMN repository_status.open IS 'Landed ones that are open.';
COMMENT ON COLUMN repository_status.closed IS 'Landed ones that were closed without being merged.';
COMMENT ON COLUMN repository_status.merged IS 'Landed ones that were merged.';
COMMENT ON COLUMN repository_status.gone IS 'Pull requests that GitHub does not have any more.';
COMMENT ON COLUMN repository_status.listed IS 'Pull requests in the inventory.';
COMMENT ON COLUMN repository_status.total_count IS 'GitHub''s count of all of them, as the newest scan that told it; null before the first.';
COMMENT ON COLUMN repository_status.known IS 'Pull requests that are known to exist, see completeness.';
COMMENT ON COLUMN repository_status.missing IS 'Known ones that are not landed.';
COMMENT ON COLUMN repository_status.different IS 'Landed ones with an open finding other than incomplete.';
COMMENT ON COLUMN repository_status.incomplete IS 'Landed ones of which a list is shorter than GitHub would tell.';
COMMENT ON COLUMN repository_status.completeness_percent IS 'Share of the known ones that are landed and without an open finding.';
COMMENT ON COLUMN repository_status.findings IS 'Open findings that say that the mirror is not as GitHub is.';
COMMENT ON COLUMN repository_status.findings_by_rule IS 'The same by rule; null when there are none.';
COMMENT ON COLUMN repository_status.numbers_by_rule IS 'The lowest five numbers of each rule.';
COMMENT ON COLUMN repository_status.notes_by_rule IS 'Open findings that are worth knowing and no fault of the mirror, by rule; null when there are none.';
COMMENT ON COLUMN repository_status.quarantined IS 'Quarantined messages that were not made good since.';
COMMENT ON COLUMN repository_status.versions IS 'Versions that were seen.';
COMMENT ON COLUMN repository_status.events IS 'Events that were seen.';
COMMENT ON COLUMN repository_status.last_sweep_at IS 'End of the newest finished pass over the open or all pull requests.';
COMMENT ON COLUMN repository_status.last_full_sweep_started_at IS 'Beginning of the newest finished sweep over all pull requests: whatever was there then has been compared.';
COMMENT ON COLUMN repository_status.last_listed_at IS 'When a poll, sweep or backfill last listed something.';
COMMENT ON COLUMN repository_status.last_landed_at IS 'When something last landed.';

//! What the page shows: one query a panel. Each is drawn as the table that it gives; a column whose
//! name ends with `percent` is drawn as a bar.

/// A part of the page.
pub(super) struct Panel {
    pub(super) title: &'static str,
    /// What it says, for those who see it for the first time.
    pub(super) about: &'static str,
    pub(super) sql: &'static str,
}

/// Bars by hour.
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// Gives how many hours ago, and a number.
    pub(super) sql: &'static str,
}

/// Hours that charts show.
pub(super) const HOURS: u64 = 48;

pub(super) const CHARTS: [Chart; 2] = [
    Chart {
        title: "Versions landed an hour",
        sql: "SELECT (epoch_us(now()) - epoch_us(landed_at)) // 3600000000 AS hours_ago, count(*) AS n \
              FROM version_log WHERE epoch_us(landed_at) > epoch_us(now()) - 172800000000 GROUP BY ALL",
    },
    Chart {
        title: "Points spent an hour",
        sql: "SELECT (epoch_us(now()) - epoch_us(sent_at)) // 3600000000 AS hours_ago, \
              coalesce(sum(points), 0)::BIGINT AS n \
              FROM api_cost WHERE epoch_us(sent_at) > epoch_us(now()) - 172800000000 GROUP BY ALL",
    },
];

pub(super) const PANELS: [Panel; 11] = [
    Panel {
        title: "Completeness",
        about: "Known pull requests that have landed and against which nothing speaks.",
        sql: "SELECT repository, landed, open, missing, different, incomplete, findings, quarantined, \
              round(completeness_percent, 2) AS percent, last_landed_at, last_sweep_at \
              FROM repository_status ORDER BY repository",
    },
    Panel {
        title: "Truth",
        about: "What verifications found: pull requests read again from GitHub, every field compared.",
        sql: "SELECT * FROM truth_rate",
    },
    Panel {
        title: "Alerts",
        about: "Findings that are not right again. Each is repaired by itself; critical ones resist.",
        sql: "SELECT severity, rule, repository, count(*) AS pull_requests, min(opened_at) AS since, \
              max(attempts) AS attempts, \
              array_to_string(list_slice(list('#' || number ORDER BY number), 1, 8), ' ') AS which \
              FROM open_findings GROUP BY severity, rule, repository \
              ORDER BY (severity = 'critical') DESC, pull_requests DESC, rule, repository LIMIT 40",
    },
    Panel {
        title: "Jobs",
        about: "What works for the mirror, on whichever processor; what ended within a day, too: prmirror jobs.",
        sql: "SELECT status, processor, kind, stage, started_at, finished_at, done, remaining, reason, \
              coalesce(workflow_url, job) AS job FROM jobs \
              WHERE finished_at IS NULL OR finished_at > now() - INTERVAL 1 DAY \
              ORDER BY status NOT IN ('failed', 'lost', 'incomplete'), started_at DESC LIMIT 30",
    },
    Panel {
        title: "Set aside",
        about: "Messages that could not be processed: prmirror quarantine list.",
        sql: "SELECT stage, code, count(*) AS messages, max(quarantined_at) AS newest \
              FROM open_quarantine GROUP BY ALL ORDER BY messages DESC LIMIT 40",
    },
    Panel {
        title: "Backfills",
        about: "The newest walk over each repository.",
        sql: "SELECT repository, status, done, total, percent, per_minute, eta, chunks_failed, reason, \
              last_error FROM backfill_status ORDER BY status = 'active' DESC, repository",
    },
    Panel {
        title: "Freshness",
        about: "From the change on GitHub to the table.",
        sql: "SELECT * FROM freshness_by_source ORDER BY ALL",
    },
    Panel {
        title: "Routing",
        about: "How the versions of the last day were noticed, and in which lane they travelled.",
        sql: "SELECT repository, source, lane, count(*) AS versions, \
              round(count(*) * 100.0 / sum(count(*)) OVER (PARTITION BY repository), 1) AS percent \
              FROM version_log WHERE epoch_us(landed_at) > epoch_us(now()) - 86400000000 \
              GROUP BY repository, source, lane ORDER BY repository, versions DESC, source, lane",
    },
    Panel {
        title: "Rate limit",
        about: "What is left of each token's hour, as GitHub told last.",
        sql: "SELECT token, remaining, points_limit, \
              round(remaining * 100.0 / nullif(points_limit, 0), 1) AS percent, reset_at, sent_at AS told_at \
              FROM api_cost WHERE remaining IS NOT NULL \
              QUALIFY row_number() OVER (PARTITION BY token ORDER BY sent_at DESC) = 1",
    },
    Panel {
        title: "API cost of the last day",
        about: "Beside it what a client would have sent that asks for each pull request by itself and \
                for each of its twelve lists once.",
        sql: "SELECT coalesce(stage, 'all') AS stage, coalesce(operation, 'all') AS operation, \
              count(*) AS requests, count(*) FILTER (outcome <> 'ok') AS failed, \
              coalesce(sum(points), 0)::BIGINT AS points, coalesce(sum(wasted), 0)::BIGINT AS points_wasted, \
              sum(pull_requests)::BIGINT AS pull_requests, \
              (sum(pull_requests) FILTER (lane IS NOT NULL) * 13)::BIGINT AS naive_requests, \
              round(sum(points) * 100.0 / nullif(sum(pull_requests) FILTER (lane IS NOT NULL) * 13, 0), 1) \
              AS of_naive_percent \
              FROM api_cost WHERE epoch_us(sent_at) > epoch_us(now()) - 86400000000 \
              GROUP BY GROUPING SETS ((stage, operation), ()) ORDER BY points DESC",
    },
    Panel {
        title: "Failed requests of the last day",
        about: "What GitHub answered in place of an answer.",
        sql: "SELECT outcome, stage, count(*) AS requests, max(sent_at) AS newest FROM api_cost \
              WHERE outcome <> 'ok' AND epoch_us(sent_at) > epoch_us(now()) - 86400000000 \
              GROUP BY ALL ORDER BY requests DESC LIMIT 20",
    },
];

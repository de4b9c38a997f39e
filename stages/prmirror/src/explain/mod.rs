//! `explain`: everything that is known of one pull request.

mod journey;
mod print;
mod source;

use std::str::FromStr;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use prmirror_kit::Bus;
use prmirror_kit::config::Pipeline;
use prmirror_proto::RepositoryName;
use prmirror_proto::state::{Parked, Stubborn};
use prmirror_proto::subjects::{
    BUCKET_ACCEPTED, BUCKET_STUBBORN, STREAM_CHANGESETS, parked_key, pull_request_key, stubborn_key,
};
use serde::Serialize;
use serde_json::Value;

use crate::arguments::{EXIT_COMPLETE, EXIT_FAILURE, EXIT_GAPS, Place};
use crate::ask::connect;
use journey::{Journey, Streams};
use source::{Record, Source};

/// Arguments of `explain`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  the mirror has it, or has seen that it is gone, and nothing speaks against what has landed
  1  nothing is known of it, or that it is no pull request; or something failed
  2  the command line or the configuration cannot be used
  3  it has not landed, or something is wrong with it, or was: a finding that is a gap, something set aside;
     or nothing of its repository is fetched")]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    place: Place,
    /// The pull request: owner/name#number, or its page on GitHub
    #[arg(value_name = "OWNER/NAME#NUMBER")]
    pull_request: PullRequest,
    /// Journeys that are told, the newest
    #[arg(long, value_name = "N", default_value_t = 3)]
    journeys: usize,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// A pull request by name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct PullRequest {
    repository: RepositoryName,
    number: u64,
}

impl FromStr for PullRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is no pull request: write owner/name#number");
        let (name, number) = match text.split_once("://") {
            // The host may be an Enterprise Server's.
            Some((_, page)) => {
                let (_, path) = page.split_once('/').ok_or_else(wrong)?;
                path.split_once("/pull/").ok_or_else(wrong)?
            }
            None => text.split_once('#').ok_or_else(wrong)?,
        };
        let number = number.split('/').next().unwrap_or(number);
        Ok(Self {
            repository: name.parse().map_err(|error| format!("{error}"))?,
            number: number.parse().map_err(|_| wrong())?,
        })
    }
}

/// Everything that is known of a pull request.
#[derive(Clone, Debug, Default, Serialize)]
struct Explanation {
    repository: String,
    number: u64,
    /// What the tables were read from.
    tables: String,
    /// Why something is not told.
    notes: Vec<String>,
    /// What the number is, if GitHub said that it is no pull request.
    no_pull_request: Option<Record>,
    /// What GitHub's lists said of it last.
    github: Option<Record>,
    /// What has landed.
    landed: Option<Record>,
    /// Whether the two say the same of everything that lists show.
    agrees: Option<bool>,
    /// Lists that are not whole.
    collections: Vec<Record>,
    /// What it was seen as, the newest first.
    versions: Vec<Record>,
    /// Requests that were answered, as far as the streams still hold them.
    requests: Option<usize>,
    journeys: Vec<Journey>,
    /// What is on its way.
    pending: Vec<String>,
    /// The last accepted state: when it was observed, its version, and the message that led to it.
    accepted: Option<Value>,
    /// How it is fetched since whole answers failed.
    stubborn: Option<Stubborn>,
    /// Why nothing of its repository is fetched.
    parked: Option<Parked>,
    findings: Vec<Record>,
    finding_history: Vec<Record>,
    quarantine: Vec<Record>,
    verifications: Vec<Record>,
    differences: Vec<Record>,
    /// What happens to it next.
    next: Vec<String>,
}

/// Tells it.
pub(crate) async fn explain(args: ExplainArgs) -> anyhow::Result<u8> {
    let PullRequest { repository, number } = &args.pull_request;
    let pipeline = args.place.running()?;
    let mut told = Explanation {
        repository: repository.to_string(),
        number: *number,
        ..Explanation::default()
    };
    let bus = match connect(&args.place).await {
        Ok(bus) => Some(bus),
        Err(error) => {
            told.notes.push(format!(
                "the mirror does not run, so neither the way of its messages nor what waits can be \
                 told: {error:#}"
            ));
            None
        }
    };
    let (source, why) = Source::find(bus.as_ref(), &args.place).await?;
    told.notes.extend(why);
    told.tables = source.says();
    tables(&mut told, &source, repository, *number).await?;
    if let Some(bus) = &bus {
        streams(&mut told, bus, &source, &args).await?;
    }
    next(&mut told, &pipeline, Timestamp::now());
    if args.json {
        println!("{}", serde_json::to_string_pretty(&told)?);
    } else {
        print!("{}", print::text(&told));
    }
    Ok(told.code())
}

/// What the tables say.
async fn tables(
    told: &mut Explanation,
    source: &Source<'_>,
    repository: &RepositoryName,
    number: u64,
) -> anyhow::Result<()> {
    // No character that a repository's name may have needs to be escaped.
    let which = format!("repository = '{repository}' AND number = {number}");
    let one =
        async |sql: String| Ok::<_, anyhow::Error>(source.rows(&sql).await?.into_iter().next());
    told.github = one(format!("SELECT * FROM inventory WHERE {which}")).await?;
    told.landed = one(format!(
        "SELECT contents.* EXCLUDE (body), landed.* EXCLUDE (repository, number, version) \
         FROM pull_request_observations AS landed \
         LEFT JOIN pull_request_contents AS contents USING (repository, number) \
         WHERE landed.{which}",
        which = which.replace(" AND number", " AND landed.number")
    ))
    .await?;
    let fingerprint = |record: &Option<Record>| record.as_ref()?.get("fingerprint").cloned();
    told.agrees = fingerprint(&told.github)
        .zip(fingerprint(&told.landed))
        .map(|(github, landed)| github == landed);
    told.collections = source
        .rows(&format!(
            "SELECT collection, completeness, total, held FROM collections \
             WHERE {which} AND completeness <> 'complete' ORDER BY collection"
        ))
        .await?;
    told.versions = source
        .rows(&format!(
            "SELECT * FROM version_log WHERE {which} ORDER BY observed_at DESC LIMIT 10"
        ))
        .await?;
    told.findings = source
        .rows(&format!(
            "SELECT findings.*, rules.is_gap, rules.is_repaired, rules.remedy \
             FROM findings LEFT JOIN rules USING (rule) \
             WHERE {which} ORDER BY status = 'closed', opened_at DESC"
        ))
        .await?;
    told.finding_history = source
        .rows(&format!(
            "SELECT history.* FROM finding_history AS history \
             WHERE id IN (SELECT id FROM findings WHERE {which}) ORDER BY noted_at"
        ))
        .await?;
    told.quarantine = source
        .rows(&format!(
            "SELECT sequence, stage, code, reason, quarantined_at, \
             sequence IN (SELECT sequence FROM open_quarantine) AS is_open \
             FROM quarantine WHERE {which} ORDER BY sequence DESC LIMIT 20"
        ))
        .await?;
    let numbers = source
        .rows_if_any(&format!(
            "SELECT kind, observed_at FROM explained_numbers \
             WHERE repository = '{repository}' AND {number} BETWEEN first_number AND last_number \
             ORDER BY observed_at DESC LIMIT 1"
        ))
        .await;
    told.no_pull_request = numbers.into_iter().next();
    told.verifications = source
        .rows_if_any(&format!(
            "SELECT * FROM verifications WHERE {which} ORDER BY observed_at DESC LIMIT 3"
        ))
        .await;
    told.differences = source
        .rows_if_any(&format!(
            "SELECT * FROM verification_differences WHERE {which} AND run = (SELECT run FROM \
             verifications WHERE {which} ORDER BY observed_at DESC LIMIT 1)"
        ))
        .await;
    Ok(())
}

/// What the broker holds.
async fn streams(
    told: &mut Explanation,
    bus: &Bus,
    source: &Source<'_>,
    args: &ExplainArgs,
) -> anyhow::Result<()> {
    let PullRequest { repository, number } = &args.pull_request;
    let streams = Streams::read(bus, repository, *number).await?;
    let ranges = source
        .rows(&format!(
            "SELECT first_sequence, last_sequence FROM stream_positions \
             WHERE stream = '{STREAM_CHANGESETS}'"
        ))
        .await?;
    let bound = |range: &Record, name: &str| range.get(name).and_then(Value::as_u64);
    let landed = |sequence: u64| {
        Some(ranges.iter().any(|range| {
            let (first, last) = (
                bound(range, "first_sequence"),
                bound(range, "last_sequence"),
            );
            first
                .zip(last)
                .is_some_and(|(first, last)| (first..=last).contains(&sequence))
        }))
    };
    // Of a message that was set aside the quarantine names the id.
    let set_aside = source.rows(&set_aside_sql(repository, *number)).await?;
    let text = |record: &Record, name: &str| {
        let text = record.get(name).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let set_aside = |id: &str| {
        let record = set_aside.iter().find(|record| text(record, "id") == id)?;
        let sequence = record.get("sequence")?;
        Some(format!(
            "{} has set it aside ({}): prmirror quarantine show {sequence}",
            text(record, "stage"),
            text(record, "code")
        ))
    };
    told.requests = Some(streams.count());
    told.journeys = streams
        .journeys(bus, args.journeys, set_aside, landed)
        .await;
    let waiting = streams.waiting.iter();
    told.pending = waiting
        .map(|(lane, request)| journey::waits(*lane, request))
        .collect();
    // The last one's place is also what is on its way now.
    let last = told
        .journeys
        .last()
        .and_then(|journey| journey.waits.clone());
    told.pending.extend(last);
    let key = pull_request_key(repository, *number);
    let accepted = bus.kv(BUCKET_ACCEPTED).await?.get::<Value>(&key).await?;
    told.accepted = accepted.map(|entry| {
        let names = ["observed_at", "version", "previous", "kind", "cause"];
        let found = names
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), entry.value.get(name)?.clone())));
        Value::Object(found.collect())
    });
    let failed = bus.kv(BUCKET_STUBBORN).await?;
    let stubborn = failed.get(&stubborn_key(repository, *number)).await?;
    told.stubborn = stubborn.map(|entry| entry.value);
    let parked = failed.get(&parked_key(repository)).await?;
    told.parked = parked.map(|entry| entry.value);
    Ok(())
}

/// What was set aside that may be about it, the newest first; what nobody can say what it is about among
/// it. Neither what was set aside of others nor its number is to crowd it out.
fn set_aside_sql(repository: &RepositoryName, number: u64) -> String {
    format!(
        "SELECT sequence, stage, code, json_extract_string(original_headers, '\"Nats-Msg-Id\"') AS id \
         FROM quarantine \
         WHERE (repository = '{repository}' AND coalesce(number = {number}, true)) OR repository IS NULL \
         ORDER BY repository IS NULL, number IS NULL, sequence DESC"
    )
}

/// What will happen because of a finding that is not closed; none where fetching cannot help.
fn repair(finding: &Record, pipeline: &Pipeline) -> Option<String> {
    let rule = word(finding, "rule");
    if word(finding, "status") == "repaired" {
        return Some(format!(
            "{rule}: it is repaired, and closed when a later look confirms that; what a verification found, \
             when one finds it right"
        ));
    }
    // Nor is anything asked for because of a rule that is no more.
    (finding.get("is_repaired") == Some(&Value::Bool(true))).then(|| {
        format!(
            "{rule}: {} of {} repairs were asked for, the next not before {}",
            word(finding, "attempts"),
            pipeline.reconcile.max_attempts,
            word(finding, "next_attempt_at")
        )
    })
}

/// What will happen to it.
fn next(told: &mut Explanation, pipeline: &Pipeline, now: Timestamp) {
    let mut next = Vec::new();
    // What nothing is done about here; it keeps nothing else from being told.
    let mut left = Vec::new();
    for finding in told.open_findings() {
        match repair(finding, pipeline) {
            Some(repair) => next.push(repair),
            None => left.push(format!(
                "{}: no repair is asked for; its remedy: {}",
                word(finding, "rule"),
                word(finding, "remedy")
            )),
        }
    }
    for aside in told.quarantine.iter().filter(|aside| is_open(aside)) {
        let sequence = aside.get("sequence").map_or_else(String::new, print::value);
        next.push(format!(
            "what was set aside waits for a person: prmirror quarantine release {sequence}, or drop {sequence}"
        ));
    }
    if let Some(parked) = &told.parked {
        next.push(format!(
            "nothing of its repository is fetched before {:.0}: {}, {}; at once: prmirror backfill resume --repository {}",
            parked.until, parked.code, parked.reason, told.repository
        ));
    }
    if let Some(at) = told.stubborn.as_ref().and_then(|one| one.next_attempt) {
        next.push(format!(
            "it is fetched again, in small pages, not before {at:.0}; sooner when something new is seen of it"
        ));
    }
    if told.is_unknown() {
        next.push(match &told.no_pull_request {
            Some(_) => "nothing: GitHub said that it is no pull request".to_owned(),
            None => format!(
                "nothing: if there is such a pull request, `prmirror refresh {}#{}` fetches it",
                told.repository, told.number
            ),
        });
    } else if next.is_empty() && told.pending.is_empty() {
        let seen = told.github.as_ref().and_then(|github| {
            let at = github.get("observed_at")?.as_str()?;
            at.parse::<Timestamp>().ok()
        });
        let sweep = seen.and_then(|seen| {
            let every = SignedDuration::try_from(pipeline.detect.sweep_all).ok()?;
            seen.checked_add(every).ok()
        });
        let sweep = sweep.filter(|at| *at > now).map_or_else(
            || "the next sweep of everything".to_owned(),
            |at| format!("the sweep of everything until {at:.0}"),
        );
        next.push(format!(
            "nothing is asked for; a poll within {:.0} s sees what changes, {sweep} sees the rest",
            pipeline.detect.poll.as_secs_f64()
        ));
    }
    next.extend(left);
    told.next = next;
}

/// A value of a row, in words.
fn word(record: &Record, name: &str) -> String {
    record.get(name).map_or_else(String::new, print::value)
}

fn is_open(aside: &Record) -> bool {
    aside.get("is_open") == Some(&Value::Bool(true))
}

impl Explanation {
    /// Whether nothing here has ever heard of it.
    fn is_unknown(&self) -> bool {
        self.github.is_none()
            && self.landed.is_none()
            && self.requests.unwrap_or(0) == 0
            && self.pending.is_empty()
            && self.quarantine.is_empty()
    }

    fn open_findings(&self) -> impl Iterator<Item = &Record> {
        let closed =
            |finding: &&Record| finding.get("status").and_then(Value::as_str) == Some("closed");
        self.findings.iter().filter(move |finding| !closed(finding))
    }

    /// Whether a finding says that the mirror is not as GitHub is, or was not until it was repaired: the others
    /// are worth knowing. A rule that is no more does not say which of the two its findings are.
    fn has_gap(&self) -> bool {
        self.open_findings()
            .any(|finding| finding.get("is_gap") != Some(&Value::Bool(false)))
    }

    fn code(&self) -> u8 {
        if self.is_unknown() {
            EXIT_FAILURE
        } else if self.landed.is_none()
            || self.has_gap()
            || self.quarantine.iter().any(is_open)
            || self.parked.is_some()
        {
            EXIT_GAPS
        } else {
            EXIT_COMPLETE
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use prmirror_analytics::{Batch, Database, Limits, ReconcileSettings, Record, Sequenced};
    use prmirror_proto::Quarantined;
    use prmirror_proto::subjects::STREAM_QUARANTINE;

    #[test]
    fn why_nothing_of_a_repository_is_fetched_is_told() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let row = |value: Value| value.as_object().cloned();
        let mut told = Explanation {
            landed: row(serde_json::json!({ "number": 7 })),
            parked: Some(Parked {
                since: at("2026-01-01T00:00:00Z"),
                times: 1,
                code: "github-forbidden".to_owned(),
                reason: "no".to_owned(),
                until: at("2026-01-01T00:01:00Z"),
                failures: 0,
            }),
            repository: "o/r".to_owned(),
            ..Explanation::default()
        };
        next(&mut told, &Pipeline::default(), at("2026-01-01T00:00:30Z"));
        let expected = "nothing of its repository is fetched before 2026-01-01T00:01:00Z: github-forbidden, no; \
                        at once: prmirror backfill resume --repository o/r";
        assert_eq!(told.next, [expected]);
        // Whether what has landed is right can only be told when the repository is read again.
        assert_eq!(told.code(), EXIT_GAPS);
        assert!(print::text(&told).contains(expected));
    }

    /// What the tables say of a pull request with an open finding of the rule `stubborn`, as if it had landed.
    async fn stubborn(number: u64) -> Explanation {
        let repository: RepositoryName = "o/r".parse().unwrap();
        let settings = ReconcileSettings {
            stubborn: vec![prmirror_analytics::Stubborn {
                repository: repository.clone(),
                number,
                attempts: 5,
                since: Timestamp::UNIX_EPOCH,
                last_error: "it is too heavy".to_owned(),
            }],
            ..ReconcileSettings::default()
        };
        let mut database = Database::in_memory().unwrap();
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(1);
        database.reconcile(at, &settings).unwrap();
        let source = Source::Copy(Box::new(database.reader().unwrap()), at);
        let mut told = Explanation {
            repository: repository.to_string(),
            number,
            ..Explanation::default()
        };
        tables(&mut told, &source, &repository, number)
            .await
            .unwrap();
        told.landed = serde_json::json!({ "number": number }).as_object().cloned();
        told
    }

    #[tokio::test]
    async fn what_no_fetch_repairs_is_told_with_its_remedy_and_is_no_gap() {
        let mut told = stubborn(7).await;
        let now = Timestamp::now();
        next(&mut told, &Pipeline::default(), now);
        let remedy = "stubborn: no repair is asked for; its remedy: none here: it is tried again by itself, and is \
                      stubborn no more once it was whole";
        assert_eq!(told.next.len(), 2, "{:?}", told.next);
        assert!(
            told.next[0].starts_with("nothing is asked for; a poll within "),
            "{:?}",
            told.next
        );
        assert_eq!(told.next[1], remedy);
        assert_eq!(told.code(), EXIT_COMPLETE);
        assert!(print::text(&told).contains(remedy));

        // Beside it one that is a gap, of a rule whose findings are repaired.
        let gap = serde_json::json!({ "rule": "stale", "status": "repair_requested", "attempts": 1,
            "next_attempt_at": "2026-01-01T00:00:00Z", "is_gap": true, "is_repaired": true });
        told.findings.extend(gap.as_object().cloned());
        next(&mut told, &Pipeline::default(), now);
        let of = Pipeline::default().reconcile.max_attempts;
        assert_eq!(
            told.next,
            [
                format!(
                    "stale: 1 of {of} repairs were asked for, the next not before 2026-01-01T00:00:00Z"
                ),
                remedy.to_owned()
            ]
        );
        assert_eq!(told.code(), EXIT_GAPS);
        // It was one until it was repaired, and is none once that is confirmed.
        for (status, code) in [("repaired", EXIT_GAPS), ("closed", EXIT_COMPLETE)] {
            told.findings[1].insert("status".to_owned(), status.into());
            next(&mut told, &Pipeline::default(), now);
            assert_eq!((told.next.len(), told.code()), (2, code), "{status}");
        }
    }

    #[test]
    fn what_was_set_aside_of_others_crowds_nothing_out() {
        let about = [
            (Some("o/r"), Some(7)),
            (Some("o/r"), Some(8)),
            (Some("o/x"), Some(7)),
            (Some("o/r"), None),
            (None, None),
        ];
        let records = (1_u64..)
            .zip(about)
            .map(|(sequence, (name, number))| Sequenced {
                stream: STREAM_QUARANTINE.into(),
                sequence,
                message_id: format!("aside-{sequence}"),
                published_at: Timestamp::UNIX_EPOCH,
                record: Record::Quarantined(Quarantined {
                    stage: "validate".to_owned(),
                    code: "undecodable".to_owned(),
                    reason: "no".to_owned(),
                    repository: name.map(|name| name.parse().unwrap()),
                    number,
                    original_subject: String::new(),
                    original_headers: BTreeMap::new(),
                    original_body: String::new(),
                    deliveries: 1,
                    quarantined_at: Timestamp::UNIX_EPOCH,
                }),
            });
        let batch = Batch {
            records: records.collect(),
        };
        let mut database = Database::in_memory().unwrap();
        database.land_at(&batch, Timestamp::UNIX_EPOCH).unwrap();
        let sql = set_aside_sql(&"o/r".parse().unwrap(), 7);
        let reader = database.reader().unwrap();
        let told = reader.query(&sql, &Limits::default()).unwrap();
        let sequences = told.rows.iter().map(|row| row[0].as_u64().unwrap());
        assert_eq!(sequences.collect::<Vec<_>>(), [1, 4, 5]);
    }

    #[test]
    fn pull_requests_are_named_as_people_name_them() {
        let expected = PullRequest {
            repository: RepositoryName::new("o", "r.x").unwrap(),
            number: 7,
        };
        for text in [
            "o/r.x#7",
            "https://github.com/o/r.x/pull/7",
            "https://github.com/o/r.x/pull/7/files",
        ] {
            assert_eq!(text.parse::<PullRequest>().unwrap(), expected, "{text}");
        }
        for wrong in [
            "",
            "o/r",
            "o/r#",
            "o/r#x",
            "r#7",
            "https://github.com/o/r/issues/7",
        ] {
            assert!(wrong.parse::<PullRequest>().is_err(), "{wrong}");
        }
    }
}

//! NATS subjects: one place that builds and parses them.
//!
//! A subject is made of tokens parted by `.`; `*`, `>`, `.` and white space mean something to the
//! broker, and KV keys allow still fewer characters. What is not a letter, a digit, `-` or `_` is
//! therefore written as `=XX`, the byte in hexadecimal (`%XX` is refused in KV keys).

use std::fmt;

use crate::messages::Lane;
use crate::repository::RepositoryName;

/// Stream of change requests: a work queue with one pending message per subject, newest wins.
pub const STREAM_CHANGES: &str = "PR_CHANGES";
/// Stream of what polls, sweeps and backfills saw.
pub const STREAM_INVENTORY: &str = "PR_INVENTORY";
/// Stream of GitHub's raw answers; the tables can be rebuilt from it.
pub const STREAM_FETCHED: &str = "PR_FETCHED";
/// Stream of accepted snapshots.
pub const STREAM_VALID: &str = "PR_VALID";
/// Stream of changes ready to land.
pub const STREAM_CHANGESETS: &str = "PR_CHANGESETS";
/// The public feed: one CloudEvent a message.
pub const STREAM_EVENTS: &str = "PR_EVENTS";
/// Stream of what could not be processed, with everything needed to understand it.
pub const STREAM_QUARANTINE: &str = "PR_QUARANTINE";
/// Stream of findings that ask for a repair.
pub const STREAM_FINDINGS: &str = "PR_FINDINGS";
/// Stream of what each answer of GitHub cost.
pub const STREAM_COSTS: &str = "PR_COSTS";
/// Stream of webhook deliveries as they came, one subject a delivery: a repetition is recognised by
/// its subject for as long as the first is kept.
pub const STREAM_WEBHOOKS: &str = "PR_WEBHOOKS";

/// Stream of how jobs stand: processes, and what runs elsewhere for the mirror.
pub const STREAM_JOBS: &str = "PR_JOBS";

/// The subjects that each stream stores.
pub const STREAM_SUBJECTS: [(&str, &str); 11] = [
    (STREAM_CHANGES, "pr.changes.>"),
    (STREAM_INVENTORY, "pr.inventory.>"),
    (STREAM_FETCHED, "pr.fetched.>"),
    (STREAM_VALID, "pr.valid.>"),
    (STREAM_CHANGESETS, "pr.changesets.>"),
    (STREAM_EVENTS, "pr.events.>"),
    (STREAM_QUARANTINE, "pr.quarantine.>"),
    (STREAM_FINDINGS, "pr.findings.>"),
    (STREAM_COSTS, "pr.costs.>"),
    (STREAM_WEBHOOKS, "pr.webhooks.>"),
    (STREAM_JOBS, "pr.jobs.>"),
];

/// KV bucket: how far each repository's poll has come.
pub const BUCKET_WATERMARKS: &str = "prmirror_watermarks";
/// KV bucket: backfills and their cursors.
pub const BUCKET_BACKFILLS: &str = "prmirror_backfills";
/// KV bucket: the last accepted state of each pull request.
pub const BUCKET_ACCEPTED: &str = "prmirror_accepted";
/// KV bucket: what is left of each token's budget.
pub const BUCKET_BUDGETS: &str = "prmirror_budgets";
/// KV bucket: which pull requests have or had a head commit.
pub const BUCKET_HEADS: &str = "prmirror_heads";
/// KV bucket: what fails again and again: pull requests ([`stubborn_key`]), whole repositories
/// ([`parked_key`]), and messages that the process dies with ([`unfinished_key`]).
pub const BUCKET_STUBBORN: &str = "prmirror_stubborn";
/// KV bucket: what was read of pull requests that are not whole yet, an entry an answer; what is left over
/// is removed by age.
pub const BUCKET_PAGES: &str = "prmirror_pages";
/// KV bucket: what was last seen of each repository as a whole, and the answers of REST with their `ETag`s.
pub const BUCKET_PROBES: &str = "prmirror_probes";
/// Object store: bodies over the server's `max_payload`, by digest.
pub const BUCKET_BODIES: &str = "prmirror_bodies";

/// Every KV bucket that the stages share.
pub const KV_BUCKETS: [&str; 8] = [
    BUCKET_WATERMARKS,
    BUCKET_BACKFILLS,
    BUCKET_ACCEPTED,
    BUCKET_BUDGETS,
    BUCKET_HEADS,
    BUCKET_STUBBORN,
    BUCKET_PAGES,
    BUCKET_PROBES,
];

/// One text as one token, reversibly: see the module's documentation.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut token = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            token.push(char::from(byte));
        } else {
            token.push_str(&format!("={byte:02X}"));
        }
    }
    token
}

/// The text behind a token, or `None` when the token was not made by [`escape`].
#[must_use]
pub fn unescape(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'=' => {
                let pair = [rest.next()?, rest.next()?];
                let digits = std::str::from_utf8(&pair).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
            }
            b'-' | b'_' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => bytes.push(byte),
            _ => return None,
        }
    }
    String::from_utf8(bytes).ok()
}

/// The KV key of a repository: `owner.name`, escaped.
#[must_use]
pub fn repository_key(repository: &RepositoryName) -> String {
    format!("{}.{}", escape(&repository.owner), escape(&repository.name))
}

/// The KV key of a pull request: `owner.name.number`, escaped.
#[must_use]
pub fn pull_request_key(repository: &RepositoryName, number: u64) -> String {
    format!("{}.{number}", repository_key(repository))
}

/// The key, in [`BUCKET_STUBBORN`], of a pull request that could not be fetched.
#[must_use]
pub fn stubborn_key(repository: &RepositoryName, number: u64) -> String {
    format!("pull_request.{}", pull_request_key(repository, number))
}

/// The key, in [`BUCKET_STUBBORN`], of a repository of which nothing can be fetched.
#[must_use]
pub fn parked_key(repository: &RepositoryName) -> String {
    format!("repository.{}", repository_key(repository))
}

/// What the keys begin with, in [`BUCKET_PROBES`], of the processes that work for the mirror in a run of a
/// workflow.
#[must_use]
pub fn workflow_keys(repository: &RepositoryName, run: u64) -> String {
    format!("workflow.{}.{run}.", repository_key(repository))
}

/// The key of one of them, by its own run.
#[must_use]
pub fn workflow_key(repository: &RepositoryName, run: u64, process: &str) -> String {
    format!("{}{}", workflow_keys(repository, run), escape(process))
}

/// The key, in [`BUCKET_STUBBORN`], of a message that was being handled by a durable consumer when the
/// process died, or may have been.
#[must_use]
pub fn unfinished_key(durable: &str, subject: &str) -> String {
    format!("message.{}.{}", escape(durable), escape(subject))
}

/// The durable consumer that hands out a lane's change requests to those who fetch, how many processes that may
/// be. Who publishes asks it what was handed out.
#[must_use]
pub fn fetch_consumer(lane: Lane) -> String {
    format!("fetch-pr-{lane}")
}

/// A subject of the product, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `pr.changes.<lane>.<owner>.<repo>.<number>`
    Changes {
        /// Which queue.
        lane: Lane,
        /// Which repository.
        repository: RepositoryName,
        /// Which pull request.
        number: u64,
    },
    /// `pr.inventory.<owner>.<repo>`
    Inventory {
        /// Which repository.
        repository: RepositoryName,
    },
    /// `pr.fetched.<owner>.<repo>.<number>`
    Fetched {
        /// Which repository.
        repository: RepositoryName,
        /// Which pull request.
        number: u64,
    },
    /// `pr.valid.<owner>.<repo>.<number>`
    Valid {
        /// Which repository.
        repository: RepositoryName,
        /// Which pull request.
        number: u64,
    },
    /// `pr.changesets.<owner>.<repo>.<number>`
    Changesets {
        /// Which repository.
        repository: RepositoryName,
        /// Which pull request.
        number: u64,
    },
    /// `pr.events.<owner>.<repo>.<number>.<kind>`
    Events {
        /// Which repository.
        repository: RepositoryName,
        /// Which pull request.
        number: u64,
        /// What happened.
        kind: String,
    },
    /// `pr.quarantine.<stage>.<code>`: what cannot be processed may not even tell its pull request.
    Quarantine {
        /// The stage that gave up.
        stage: String,
        /// The reason's code.
        code: String,
    },
    /// `pr.findings.<owner>.<repo>.<rule>`
    Findings {
        /// Which repository.
        repository: RepositoryName,
        /// Code of the rule that found it.
        rule: String,
    },
    /// `pr.costs.<stage>.<owner>.<repo>`
    Costs {
        /// The stage that asked.
        stage: String,
        /// Which repository.
        repository: RepositoryName,
    },
    /// `pr.webhooks.<event>.<delivery>`
    Webhooks {
        /// GitHub's name of the event, as in `X-GitHub-Event`.
        event: String,
        /// `X-GitHub-Delivery`; the same when a delivery is repeated.
        delivery: String,
    },
    /// `pr.jobs.<stage>`
    Jobs {
        /// The stage whose work it is.
        stage: String,
    },
}

impl Subject {
    /// The repository that it names.
    #[must_use]
    pub const fn repository(&self) -> Option<&RepositoryName> {
        match self {
            Self::Changes { repository, .. }
            | Self::Inventory { repository }
            | Self::Fetched { repository, .. }
            | Self::Valid { repository, .. }
            | Self::Changesets { repository, .. }
            | Self::Events { repository, .. }
            | Self::Findings { repository, .. }
            | Self::Costs { repository, .. } => Some(repository),
            Self::Quarantine { .. } | Self::Webhooks { .. } | Self::Jobs { .. } => None,
        }
    }

    /// The number of the pull request that it names.
    #[must_use]
    pub const fn number(&self) -> Option<u64> {
        match self {
            Self::Changes { number, .. }
            | Self::Fetched { number, .. }
            | Self::Valid { number, .. }
            | Self::Changesets { number, .. }
            | Self::Events { number, .. } => Some(*number),
            Self::Inventory { .. }
            | Self::Quarantine { .. }
            | Self::Findings { .. }
            | Self::Costs { .. }
            | Self::Webhooks { .. }
            | Self::Jobs { .. } => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changes {
                lane,
                repository,
                number,
            } => write!(
                f,
                "pr.changes.{lane}.{}.{number}",
                repository_key(repository)
            ),
            Self::Inventory { repository } => {
                write!(f, "pr.inventory.{}", repository_key(repository))
            }
            Self::Fetched { repository, number } => {
                write!(f, "pr.fetched.{}.{number}", repository_key(repository))
            }
            Self::Valid { repository, number } => {
                write!(f, "pr.valid.{}.{number}", repository_key(repository))
            }
            Self::Changesets { repository, number } => {
                write!(f, "pr.changesets.{}.{number}", repository_key(repository))
            }
            Self::Events {
                repository,
                number,
                kind,
            } => write!(
                f,
                "pr.events.{}.{number}.{}",
                repository_key(repository),
                escape(kind)
            ),
            Self::Quarantine { stage, code } => {
                write!(f, "pr.quarantine.{}.{}", escape(stage), escape(code))
            }
            Self::Findings { repository, rule } => write!(
                f,
                "pr.findings.{}.{}",
                repository_key(repository),
                escape(rule)
            ),
            Self::Costs { stage, repository } => {
                write!(
                    f,
                    "pr.costs.{}.{}",
                    escape(stage),
                    repository_key(repository)
                )
            }
            Self::Webhooks { event, delivery } => {
                write!(f, "pr.webhooks.{}.{}", escape(event), escape(delivery))
            }
            Self::Jobs { stage } => write!(f, "pr.jobs.{}", escape(stage)),
        }
    }
}

/// Why a text is no subject of the product.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no subject of prmirror")]
pub struct UnknownSubject(String);

impl std::str::FromStr for Subject {
    type Err = UnknownSubject;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| UnknownSubject(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Subject> {
    let tokens: Vec<&str> = text.split('.').collect();
    let repository =
        |owner: &str, name: &str| RepositoryName::new(&unescape(owner)?, &unescape(name)?).ok();
    let number = |token: &str| {
        // One spelling a number: no sign, no leading zero.
        token.parse::<u64>().ok().filter(|n| n.to_string() == token)
    };
    match tokens.as_slice() {
        ["pr", "changes", lane, o, r, n] => Some(Subject::Changes {
            lane: lane.parse().ok()?,
            repository: repository(o, r)?,
            number: number(n)?,
        }),
        ["pr", "inventory", o, r] => Some(Subject::Inventory {
            repository: repository(o, r)?,
        }),
        ["pr", "fetched", o, r, n] => Some(Subject::Fetched {
            repository: repository(o, r)?,
            number: number(n)?,
        }),
        ["pr", "valid", o, r, n] => Some(Subject::Valid {
            repository: repository(o, r)?,
            number: number(n)?,
        }),
        ["pr", "changesets", o, r, n] => Some(Subject::Changesets {
            repository: repository(o, r)?,
            number: number(n)?,
        }),
        ["pr", "events", o, r, n, kind] => Some(Subject::Events {
            repository: repository(o, r)?,
            number: number(n)?,
            kind: unescape(kind)?,
        }),
        ["pr", "quarantine", stage, code] => Some(Subject::Quarantine {
            stage: unescape(stage)?,
            code: unescape(code)?,
        }),
        ["pr", "findings", o, r, rule] => Some(Subject::Findings {
            repository: repository(o, r)?,
            rule: unescape(rule)?,
        }),
        ["pr", "costs", stage, o, r] => Some(Subject::Costs {
            stage: unescape(stage)?,
            repository: repository(o, r)?,
        }),
        ["pr", "webhooks", event, delivery] => Some(Subject::Webhooks {
            event: unescape(event)?,
            delivery: unescape(delivery)?,
        }),
        ["pr", "jobs", stage] => Some(Subject::Jobs {
            stage: unescape(stage)?,
        }),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_with_dots_are_one_token() {
        let subject = Subject::Fetched {
            repository: RepositoryName::new("o", "a.b_c-d").unwrap(),
            number: 7,
        };
        assert_eq!(subject.to_string(), "pr.fetched.o.a=2Eb_c-d.7");
    }

    proptest! {
        #[test]
        fn any_text_survives_escaping(text in ".*") {
            let token = escape(&text);
            let sound = token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_=".contains(&b));
            prop_assert!(sound);
            prop_assert_eq!(unescape(&token), Some(text));
        }

        #[test]
        fn subjects_round_trip(
            owner in "[A-Za-z0-9][A-Za-z0-9.-]{0,20}",
            name in "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}",
            number: u64,
            kind in "[a-z_.* >]{1,12}",
        ) {
            let repository = RepositoryName::new(&owner, &name).unwrap();
            for subject in [
                Subject::Changes { lane: Lane::Bulk, repository: repository.clone(), number },
                Subject::Inventory { repository: repository.clone() },
                Subject::Fetched { repository: repository.clone(), number },
                Subject::Valid { repository: repository.clone(), number },
                Subject::Changesets { repository: repository.clone(), number },
                Subject::Events { repository: repository.clone(), number, kind: kind.clone() },
                Subject::Quarantine { stage: kind.clone(), code: kind.clone() },
                Subject::Findings { repository: repository.clone(), rule: kind.clone() },
                Subject::Costs { stage: kind.clone(), repository },
                Subject::Webhooks { event: kind.clone(), delivery: kind.clone() },
                Subject::Jobs { stage: kind.clone() },
            ] {
                prop_assert_eq!(subject.to_string().parse::<Subject>().unwrap(), subject);
            }
        }

        #[test]
        fn no_text_makes_parsing_panic(text in ".*") {
            let _ = text.parse::<Subject>();
        }
    }
}

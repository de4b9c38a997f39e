//! `refresh`: fetches pull requests now, whatever is known of them.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use prmirror_analytics::Table;
use prmirror_kit::Bus;
use prmirror_kit::config::parse_duration;
use prmirror_proto::RepositoryName;
use prmirror_proto::messages::Lane;
use prmirror_proto::repository::InvalidRepositoryName;
use prmirror_proto::requests::{
    RefreshAnswer, RefreshRequest, SUBJECT_REFRESH, SUBJECT_SQL, SqlRequest,
};
use tokio::time::Instant;

use crate::arguments::{EXIT_COMPLETE, EXIT_GAPS, Place};
use crate::ask::{ask, ask_stage, connect};

/// How often the tables are asked whether it has landed.
const LOOK: Duration = Duration::from_millis(500);

/// Pull requests that are named when they did not land.
const NAMED: usize = 20;

/// What stands between a refresh and GitHub.
pub(crate) const NOT_CACHED: &str = "\
Nothing is taken from a cache: GitHub is asked for the whole of each pull request, every list to its end,
with no condition (no ETag), and what comes is written anew even if it is what was there. What was landed,
what polls and sweeps saw, and routing.min_interval leave nothing out. Of a whole repository, the list of
open ones is read from GitHub at that moment. What was seen of a pull request decides only how it is asked
for: how many nodes of each list at once.

Kept with their ETags are a GitHub App's own questions, which no refresh depends on: where it is installed,
and which deliveries failed.";

/// `owner/name`, or `owner/name#7`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    repository: RepositoryName,
    number: Option<u64>,
}

/// Why a text is no target.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidTarget {
    #[error(transparent)]
    Repository(#[from] InvalidRepositoryName),
    #[error("`{0}` is no number of a pull request: write owner/name#7")]
    Number(String),
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (repository, number) = match text.split_once('#') {
            Some((repository, number)) => (repository, Some(number)),
            None => (text, None),
        };
        let number = number.map(|number| {
            let parsed = number.parse::<u64>().ok().filter(|number| *number > 0);
            parsed.ok_or_else(|| InvalidTarget::Number(number.to_owned()))
        });
        Ok(Self {
            repository: repository.parse()?,
            number: number.transpose()?,
        })
    }
}

/// Arguments of `refresh`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RefreshArgs {
    #[command(flatten)]
    place: Place,
    /// owner/name#7 for one pull request, owner/name for every open one
    #[arg(value_name = "OWNER/NAME[#N]")]
    target: Target,
    /// Why: it is logged, and `explain` tells it until it has been fetched
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// realtime goes first, bulk when there is nothing else; without it, realtime for up to 25
    #[arg(long)]
    lane: Option<Lane>,
    /// Wait until it has landed
    #[arg(long)]
    wait: bool,
    /// With --wait: give up after so long
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = parse_duration, requires = "wait")]
    patience: Duration,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Asks for it, and waits if that is wanted.
pub(crate) async fn refresh(args: RefreshArgs) -> anyhow::Result<u8> {
    let bus = connect(&args.place).await?;
    let request = RefreshRequest {
        repository: args.target.repository.clone(),
        numbers: args.target.number.into_iter().collect(),
        lane: args.lane,
        reason: args.reason.clone(),
    };
    let question = serde_json::to_vec(&request)?;
    let answer: RefreshAnswer =
        ask_stage(&bus, "detect-changes", SUBJECT_REFRESH, question).await?;
    let all = answer.numbers.len();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        println!(
            "{}: {} will be fetched, in the {} queue",
            args.target.repository,
            counted(all),
            answer.lane
        );
    }
    if !args.wait {
        return Ok(EXIT_COMPLETE);
    }
    let missing = wait(&bus, &args, &answer).await?;
    if missing.is_empty() {
        if !args.json {
            println!("{} landed", counted(all));
        }
        return Ok(EXIT_COMPLETE);
    }
    let mut names: Vec<String> = missing
        .iter()
        .take(NAMED)
        .map(|n| format!("#{n}"))
        .collect();
    if missing.len() > NAMED {
        names.push("…".to_owned());
    }
    eprintln!(
        "prmirror: {} of {all} did not land within {:?}: {}",
        missing.len(),
        args.patience,
        names.join(", ")
    );
    Ok(EXIT_GAPS)
}

fn counted(pull_requests: usize) -> String {
    match pull_requests {
        1 => "1 pull request".to_owned(),
        more => format!("{more} pull requests"),
    }
}

/// Waits until everything has landed, and returns what has not.
async fn wait(
    bus: &Bus,
    args: &RefreshArgs,
    answer: &RefreshAnswer,
) -> anyhow::Result<BTreeSet<u64>> {
    let deadline = Instant::now() + args.patience;
    let mut missing: BTreeSet<u64> = answer.numbers.iter().copied().collect();
    let mut told = missing.len();
    let progress = std::io::stderr().is_terminal();
    while !missing.is_empty() {
        for number in landed(bus, &args.target.repository, answer.requested_at).await? {
            missing.remove(&number);
        }
        if progress && missing.len() != told {
            told = missing.len();
            eprintln!(
                "{} of {} landed",
                answer.numbers.len() - told,
                answer.numbers.len()
            );
        }
        if missing.is_empty() || Instant::now() >= deadline {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(missing)
}

/// What was observed at that time or later: as a new version, as what it was before, or as gone.
async fn landed(
    bus: &Bus,
    repository: &RepositoryName,
    since: Timestamp,
) -> anyhow::Result<Vec<u64>> {
    // A name has no quote in it. GitHub compares names without regard to case.
    let sql = format!(
        "SELECT number FROM pull_request_observations
         WHERE lower(repository) = lower('{repository}')
           AND (observed_at >= TIMESTAMPTZ '{since}' OR confirmed_at >= TIMESTAMPTZ '{since}'
                OR gone_observed_at >= TIMESTAMPTZ '{since}')"
    );
    let rows = 1_000_000;
    let question = serde_json::to_vec(&SqlRequest { sql, rows })?;
    let table: Table = ask(bus, SUBJECT_SQL, question).await?;
    let number = |row: &Vec<serde_json::Value>| row.first()?.as_u64();
    let numbers: Option<Vec<u64>> = table.rows.iter().map(number).collect();
    numbers.context("publish tells numbers that are none")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_help_says_that_nothing_is_cached() {
        use clap::CommandFactory as _;
        let mut command = crate::arguments::Arguments::command();
        let refresh = command.find_subcommand_mut("refresh").unwrap();
        let help = refresh.render_long_help().to_string();
        assert!(help.contains("Nothing is taken from a cache"), "{help}");
        assert!(help.contains("--wait"), "{help}");
    }

    #[test]
    fn one_or_all_can_be_meant() {
        let target: Target = "octo-org/octo-repo#7".parse().unwrap();
        assert_eq!(target.number, Some(7));
        let target: Target = "octo-org/octo-repo".parse().unwrap();
        assert_eq!(target.number, None);
        for wrong in ["", "o", "o/r#", "o/r#0", "o/r#x", "o/r#-1", "o/r#7#8"] {
            assert!(wrong.parse::<Target>().is_err(), "{wrong}");
        }
    }
}

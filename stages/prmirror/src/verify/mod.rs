//! `verify`: reads GitHub again, on a path of its own, and compares every field with the tables.

mod chance;
mod choose;
mod document;
mod landed;
mod read;
mod tally;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use jiff::Timestamp;
use prmirror_kit::config::Pipeline;
use prmirror_kit::{Bus, CancellationToken, Context, Outgoing, Setup, shutdown_on_signal};
use prmirror_proto::{FieldDifference, RepositoryName, Verification};
use serde_json::Value;
use tokio::time::Instant;

use crate::arguments::{EXIT_COMPLETE, EXIT_FAILURE, EXIT_GAPS, Place, Unusable};
use crate::ask::connect;
use landed::{Landed, Tables};
use read::{ReadError, Reader, Reading};
use tally::{Outcome, Tally};

/// Name in the cost records.
const NAME: &str = "verify";

/// How the name of a run begins that is none of a sample; the view `truth_rate` knows it.
const REPAIRED: &str = "verify-repaired-";

/// Pull requests that are read from GitHub before the tables are: few, so that both are about as old.
const BATCH: usize = 2 * document::TOGETHER;

/// Looks at a pull request that differs in another way each time, or in a way that the next poll or
/// sweep would see. The pauses between them grow: with the usual intervals it is looked at for nine
/// minutes, which is several sweeps of what is open.
const LOOKS: u32 = 5;

const LONG: &str = "\
Reads pull requests from GitHub again and compares every field of every table with what has landed.

It asks GitHub with documents of its own, a few pull requests in each and each list page by page to \
its end, and shares no code with what fills the tables. What differs is looked at a second time a little \
later: only what differs again in the same way counts, and what a poll or sweep will see gets the time \
to be seen, so that a change that is on its way is no difference. Every result lands in the mirror itself; what differs becomes a finding, and is repaired.

Never compared, because GitHub computes it when it is asked: mergeable, merge_state_status and \
potential_merge_commit_oid. Nor what is the mirror's own: version, source, lane, request, and the times \
of noticing, observing and landing.

A sample is drawn from the numbers that GitHub has given, not from what has landed: a pull request that the \
mirror has never heard of has the same chance as every other. What was found wrong before, and is repaired, is \
looked at besides, so that its finding can be closed; it does not count in the truth rate.

It uses the budget of bulk work: github.floor is left to others. Seven pull requests cost a point, and each \
hundred of a list's items beyond the first, or review threads beyond ten, another one; so do 250 numbers of which \
it is asked what they are.";

const AFTER: &str = "\
Exit codes:
  0  everything that was compared is as GitHub says
  1  something failed, or it was interrupted
  2  the command line or the configuration cannot be used
  3  something differs, or could not be compared";

/// Arguments of `verify`.
#[derive(Clone, Debug, Args)]
#[command(long_about = LONG, after_help = AFTER)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    place: Place,
    /// Only this one; may be given several times
    #[arg(long = "repository", value_name = "OWNER/NAME")]
    repositories: Vec<RepositoryName>,
    /// So many pull requests, chosen by chance; without it, verify.sample of them
    #[arg(long, value_name = "N", conflicts_with = "all")]
    sample: Option<u64>,
    /// Every pull request that GitHub has a number for or that has landed
    #[arg(long)]
    all: bool,
    /// Only open ones
    #[arg(long)]
    open: bool,
    /// Use at most this share of the points of an hour, e.g. 0.1
    #[arg(long, value_name = "SHARE", value_parser = share)]
    share: Option<f64>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// End when standard input is closed: whoever started this process is gone then
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text
        .parse()
        .map_err(|_| "write a number such as 0.1".to_owned())?;
    if share > 0.0 && share <= 1.0 {
        Ok(share)
    } else {
        Err("a share is more than 0 and at most 1".to_owned())
    }
}

/// Verifies, and says how true the mirror is.
pub(crate) async fn verify(args: VerifyArgs) -> anyhow::Result<u8> {
    let shutdown = CancellationToken::new();
    shutdown_on_signal(&shutdown)?;
    if args.exit_with_parent {
        let shutdown = shutdown.clone();
        std::thread::spawn(move || {
            // Nothing is ever written there: whatever ends the reading, the other end is gone.
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            shutdown.cancel();
        });
    }
    let pipeline = args.place.running()?;
    let configured = pipeline.repositories.iter().map(|r| r.name.clone());
    let configured: Vec<RepositoryName> = configured.collect();
    let repositories = match args.repositories.as_slice() {
        [] => configured,
        chosen => {
            if let Some(other) = chosen.iter().find(|name| !configured.contains(name)) {
                anyhow::bail!(Unusable(format!(
                    "{other} is not mirrored: name one of pipeline.toml, spelt as there"
                )));
            }
            chosen.to_vec()
        }
    };
    if repositories.is_empty() {
        anyhow::bail!(Unusable("no repository is configured".to_owned()));
    }
    let bus = connect(&args.place).await?;
    let context = Context::new(NAME, pipeline);
    let setup = Setup::new(&bus, context, args.place.data.clone(), shutdown.clone());
    let client = prmirror_github::connect(&setup, NAME)
        .map_err(|error| anyhow::Error::new(Unusable(error.to_string())))?;
    let mut run = Run {
        bus: setup.bus.clone(),
        reader: Reader::new(client, shutdown.clone(), args.share),
        grace: grace(&setup.pipeline),
        tally: Tally {
            run: format!("{NAME}-{}", setup.context.run),
            ..Tally::default()
        },
        besides: BTreeSet::new(),
        again: Vec::new(),
        progress: Progress::new(),
    };
    let sample = (!args.all).then(|| args.sample.unwrap_or(setup.pipeline.verify.sample));
    let ended = run.all(&repositories, args.open, sample).await;
    run.progress.finish();
    let Run {
        reader, mut tally, ..
    } = run;
    tally.points = reader.points;
    drop(reader);
    setup.close().await;
    match ended {
        Ok(()) => {}
        Err(RunError::Interrupted) => tally.interrupted = true,
        Err(RunError::Failed(error)) => {
            if tally.done() > 0 {
                eprint!("{}", tally.text());
            }
            return Err(error);
        }
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&tally.json()?)?);
    } else {
        print!("{}", tally.text());
    }
    Ok(if tally.is_true() {
        EXIT_COMPLETE
    } else if tally.notes.is_empty() {
        EXIT_FAILURE
    } else {
        EXIT_GAPS
    })
}

/// How long a change may be on its way: noticed by a poll, fetched, perhaps asked for once more.
fn grace(pipeline: &Pipeline) -> Duration {
    pipeline.detect.poll + pipeline.validate.recheck_delay + pipeline.reconcile.grace
}

/// Why a run ends before its end.
#[derive(Debug)]
enum RunError {
    Interrupted,
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for RunError {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// One look at a pull request.
#[derive(Debug)]
struct Look {
    verification: Verification,
    /// Whether what has landed changed while GitHub was read.
    moved: bool,
}

/// A pull request that is to be looked at again.
struct Again {
    due: Instant,
    repository: RepositoryName,
    number: u64,
    looks: u32,
    differences: Vec<FieldDifference>,
}

/// A verification under way.
struct Run {
    bus: Bus,
    reader: Reader,
    grace: Duration,
    tally: Tally,
    /// What is looked at besides the sample.
    besides: BTreeSet<(RepositoryName, u64)>,
    again: Vec<Again>,
    progress: Progress,
}

impl Run {
    async fn all(
        &mut self,
        repositories: &[RepositoryName],
        open: bool,
        sample: Option<u64>,
    ) -> Result<(), RunError> {
        let chosen = self.choose(repositories, open, sample).await?;
        for (repository, numbers) in chosen {
            for batch in numbers.chunks(BATCH) {
                self.look(&repository, batch).await?;
                self.look_again(Instant::now()).await?;
            }
        }
        while let Some(due) = self.again.iter().map(|again| again.due).min() {
            self.progress
                .say(&self.tally, &self.reader, self.again.len());
            tokio::select! {
                () = self.reader.interrupted() => return Err(RunError::Interrupted),
                () = tokio::time::sleep_until(due) => {}
            }
            self.look_again(due).await?;
        }
        Ok(())
    }

    /// Looks at some pull requests for the first time.
    async fn look(&mut self, repository: &RepositoryName, numbers: &[u64]) -> Result<(), RunError> {
        for look in self.looks(repository, numbers).await? {
            let Look {
                verification,
                moved,
            } = look;
            if verification.differences.is_empty() && !moved {
                self.report(verification).await?;
            } else {
                self.again.push(Again {
                    due: Instant::now() + self.grace,
                    repository: repository.clone(),
                    number: verification.number,
                    looks: 1,
                    differences: verification.differences,
                });
            }
        }
        Ok(())
    }

    /// Looks again at those for which it is time.
    async fn look_again(&mut self, now: Instant) -> Result<(), RunError> {
        let (due, later) = std::mem::take(&mut self.again)
            .into_iter()
            .partition(|again| again.due <= now);
        self.again = later;
        let due: Vec<Again> = due;
        let together = due
            .chunk_by(|one, next| one.repository == next.repository)
            .flat_map(|of_one| of_one.chunks(BATCH));
        for batch in together {
            let repository = &batch[0].repository;
            let numbers: Vec<u64> = batch.iter().map(|before| before.number).collect();
            for look in self.looks(repository, &numbers).await? {
                let seen = look.verification.number;
                if let Some(before) = batch.iter().find(|before| before.number == seen) {
                    self.compare_with(before, look).await?;
                }
            }
        }
        Ok(())
    }

    /// What counts is what differs in the same way each time.
    async fn compare_with(&mut self, before: &Again, look: Look) -> Result<(), RunError> {
        let Look {
            mut verification,
            moved,
        } = look;
        let known = &before.differences;
        let same = |difference: &FieldDifference| known.contains(difference);
        let differs = !verification.differences.is_empty();
        let again = verification.differences.iter().any(same);
        let looks = before.looks + 1;
        let patient = is_behind(&verification.differences) && looks < LOOKS;
        if !differs || (again && !moved && !patient) {
            verification.differences.retain(same);
            self.report(verification).await?;
        } else if looks >= LOOKS {
            self.tally.add(Outcome::Unsettled {
                repository: before.repository.clone(),
                number: before.number,
            });
        } else {
            self.again.push(Again {
                due: Instant::now() + self.grace * looks,
                repository: before.repository.clone(),
                number: before.number,
                looks,
                differences: verification.differences,
            });
        }
        Ok(())
    }

    /// The run that a result belongs to. What is looked at besides a sample has one of its own, which the
    /// view `truth_rate` leaves out: it was not drawn by chance.
    fn run_of(&self, repository: &RepositoryName, number: u64) -> String {
        let run = &self.tally.run;
        if self.besides.contains(&(repository.clone(), number)) {
            format!("{REPAIRED}{run}")
        } else {
            run.clone()
        }
    }

    /// Reads pull requests from GitHub, and then from the tables.
    async fn looks(
        &mut self,
        repository: &RepositoryName,
        numbers: &[u64],
    ) -> Result<Vec<Look>, RunError> {
        let before = Tables::new(&self.bus).versions(repository, numbers).await?;
        let mut present: Vec<(u64, Value)> = Vec::new();
        let mut observed: BTreeMap<u64, Timestamp> = BTreeMap::new();
        let mut repository_id = String::new();
        let readings = self.reader.read(repository, numbers).await;
        for (number, reading) in readings.map_err(ended)? {
            match reading {
                Ok(Reading::Present(reading)) => {
                    observed.insert(number, reading.observed_at);
                    repository_id.clone_from(&reading.repository_id);
                    present.push((number, reading.value));
                }
                Ok(Reading::Gone { observed_at }) => {
                    observed.insert(number, observed_at);
                }
                Err(ReadError::Unreadable(reason)) => self.tally.add(Outcome::Unreadable {
                    repository: repository.clone(),
                    number,
                    reason,
                }),
                Err(ReadError::Moving) => self.tally.add(Outcome::Unsettled {
                    repository: repository.clone(),
                    number,
                }),
                Err(error @ (ReadError::Ended(_) | ReadError::Interrupted)) => {
                    return Err(ended(error));
                }
            }
        }
        self.progress
            .say(&self.tally, &self.reader, self.again.len());
        let tables = Tables::new(&self.bus);
        let report = tables.compare(repository, &repository_id, &present).await?;
        let after = tables.versions(repository, numbers).await?;
        let looks = observed.into_iter().map(|(number, observed_at)| {
            let value = present.iter().find(|(n, _)| *n == number);
            let landed = after.get(&number);
            let (fields, differences) = match value {
                Some(_) => (
                    landed::fields(&report, number),
                    landed::differences(&report, number),
                ),
                None => (1, still_here(landed)),
            };
            Look {
                moved: landed != before.get(&number),
                verification: Verification {
                    run: self.run_of(repository, number),
                    repository: repository.clone(),
                    number,
                    node_id: value.and_then(|(_, v)| Some(v.get("id")?.as_str()?.to_owned())),
                    observed_at,
                    version: landed.and_then(|landed| landed.version.clone()),
                    fields,
                    differences,
                },
            }
        });
        Ok(looks.collect())
    }

    /// Notes a result, and tells the mirror.
    async fn report(&mut self, verification: Verification) -> Result<(), RunError> {
        let outgoing = Outgoing::new(&verification).map_err(anyhow::Error::new)?;
        self.tally.add(Outcome::Verified(verification));
        let published = self.bus.publish(outgoing, None).await;
        published
            .context("the result cannot be published")
            .map_err(RunError::Failed)?;
        Ok(())
    }
}

fn ended(error: ReadError) -> RunError {
    match error {
        ReadError::Interrupted => RunError::Interrupted,
        ReadError::Unreadable(_) | ReadError::Moving | ReadError::Ended(_) => {
            RunError::Failed(anyhow::Error::new(error))
        }
    }
}

/// Whether the next poll or sweep would see it: such a difference may be a change that is on its way,
/// and gets the time for it.
fn is_behind(differences: &[FieldDifference]) -> bool {
    differences.iter().any(|difference| {
        difference.table == "pull_requests"
            && matches!(
                difference.column.as_deref(),
                None | Some("fingerprint" | "gone_at")
            )
    })
}

/// What is to be said of a pull request that GitHub does not have (any more).
fn still_here(landed: Option<&Landed>) -> Vec<FieldDifference> {
    if landed.is_none_or(|landed| landed.gone || landed.version.is_none()) {
        return Vec::new();
    }
    vec![FieldDifference {
        table: "pull_requests".to_owned(),
        key: String::new(),
        column: Some("gone_at".to_owned()),
        landed: None,
        github: Some("there is no such pull request".to_owned()),
    }]
}

/// One line that is kept up to date on a terminal, and printed now and then elsewhere.
struct Progress {
    terminal: bool,
    drawn: bool,
    printed: Instant,
}

impl Progress {
    fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            drawn: false,
            printed: Instant::now(),
        }
    }

    fn say(&mut self, tally: &Tally, reader: &Reader, again: usize) {
        let every = Duration::from_secs(if self.terminal { 0 } else { 10 });
        if self.printed.elapsed() < every {
            return;
        }
        self.printed = Instant::now();
        let line = format!(
            "verified {} of {} · {} differ · {again} to be looked at again · {} points",
            tally.done(),
            tally.all(),
            tally.wrong(),
            reader.points
        );
        if self.terminal {
            eprint!("\r\x1b[2K{line}");
            let _ = std::io::stderr().flush();
            self.drawn = true;
        } else {
            eprintln!("{line}");
        }
    }

    fn finish(&mut self) {
        if self.drawn {
            eprint!("\r\x1b[2K");
            self.drawn = false;
        }
    }
}

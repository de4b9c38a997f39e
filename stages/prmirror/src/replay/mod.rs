//! `prmirror replay`: the tables made again from GitHub's answers, as they lie in the stream
//! `PR_FETCHED`, beside the live ones; and taking what was made in their place.
//!
//! Nothing that lives is touched: the streams are read without a durable consumer, what follows from
//! the answers is published nowhere, and the last accepted states are kept apart.

mod answers;
mod compare;
mod land;
mod messages;
mod progress;
mod report;
mod span;
mod states;
mod swap;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context as _;
use clap::Args;
use prmirror_analytics::Options;
use prmirror_kit::{CancellationToken, shutdown_on_signal};
use prmirror_proto::RepositoryName;
use publish::Rebuild;

use crate::arguments::{EXIT_COMPLETE, EXIT_GAPS, Place, Unusable};
use crate::ask::connect;
use land::Landing;
use progress::Progress;
use report::Report;
use span::{At, PullRequest, Spans, Which};

/// Arguments of `replay`.
#[derive(Clone, Debug, Args)]
#[command(after_long_help = "\
The file has every table but the findings, which are the mirror's own: what follows from GitHub's \
answers is judged and compared again by the rules of this build; inventory, backfills, costs and what \
was set aside are landed again. Pull requests whose answers these rules refuse are set aside in the file, \
and fetched when it is the live one. With --swap, publish adds what only the live database has, such as what \
happened before the oldest answer that is kept, and goes on where the file ends.

Examples:
  After a change of rules or tables, make the mirror again without asking GitHub:
    prmirror replay --into .prmirror/new.duckdb --swap

  Look at what one pull request was seen with on a day:
    prmirror replay --from 2026-11-16T00:00:00Z --to 2026-11-17T00:00:00Z --pr o/r#7 --into one.db

  Take a file that was made before:
    prmirror replay --swap .prmirror/new.duckdb")]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    place: Place,
    /// The first answer: a stream sequence of PR_FETCHED, or a time such as 2026-11-23T03:00:00Z;
    /// without it, the oldest that is kept
    #[arg(long, value_name = "TIME|SEQ", requires = "into")]
    from: Option<At>,
    /// The last answer, likewise; without it, the newest
    #[arg(long, value_name = "TIME|SEQ", requires = "into")]
    to: Option<At>,
    /// Only this repository
    #[arg(long, value_name = "OWNER/NAME", requires = "into")]
    repository: Option<RepositoryName>,
    /// Only the answers about this pull request, and nothing else
    #[arg(
        long,
        value_name = "OWNER/NAME#N",
        requires = "into",
        conflicts_with = "repository"
    )]
    pr: Option<PullRequest>,
    /// The database to make; it must not exist
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
    /// Take the new database in the place of the live one; with a FILE, without a replay
    #[arg(long, value_name = "FILE", num_args = 0..=1)]
    swap: Option<Option<PathBuf>>,
    /// Say what was done as JSON
    #[arg(long)]
    json: bool,
}

/// Makes a database, or takes one in the place of the live one, or both.
pub(crate) async fn replay(args: ReplayArgs) -> anyhow::Result<u8> {
    match (&args.into, &args.swap) {
        (None, Some(Some(file))) => {
            swap::swap(&args.place, file).await?;
            Ok(EXIT_COMPLETE)
        }
        (Some(_), Some(Some(_))) => Err(Unusable(
            "--into makes a new database and --swap FILE takes another one: leave out one of them, or \
             the FILE of --swap"
                .to_owned(),
        )
        .into()),
        (None, Some(None) | None) => Err(Unusable(
            "say with --into FILE where the tables are to be written, or with --swap FILE which \
             database is to be the live one"
                .to_owned(),
        )
        .into()),
        (Some(_), Some(None)) if args.repository.is_some() || args.pr.is_some() => Err(Unusable(
            "--swap takes a database of everything: leave out --repository and --pr, or --swap".to_owned(),
        )
        .into()),
        (Some(into), swap) => {
            let report = make(&args, into).await?;
            if args.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{}", report.text());
            }
            if !report.is_complete() {
                if swap.is_some() {
                    eprintln!(
                        "prmirror: the live database stays: not everything is in {}; when that is to be \
                         so, take it with --swap {0}",
                        into.display()
                    );
                }
                return Ok(EXIT_GAPS);
            }
            if swap.is_some() {
                swap::swap(&args.place, into).await?;
            }
            Ok(EXIT_COMPLETE)
        }
    }
}

/// Makes the database.
async fn make(args: &ReplayArgs, into: &Path) -> anyhow::Result<Report> {
    let stop = CancellationToken::new();
    shutdown_on_signal(&stop).context("signals")?;
    let pipeline = args.place.running()?;
    let bus = connect(&args.place).await?;
    let which = Which::new(args.repository.clone(), args.pr.clone());
    let spans = Spans::resolve(&bus, args.from, args.to, &which).await?;
    let options = Options {
        memory_limit: Some(format!("{}B", pipeline.publish.memory_limit)),
        threads: Some(pipeline.publish.threads),
    };
    let begun = Instant::now();
    let progress = Arc::new(Progress::new(&spans));
    let rebuild = Rebuild::begin(into, options)?;
    let landing = Landing::start(rebuild, Arc::clone(&progress));
    let work = async {
        let answers = answers::replay(&bus, &spans, into, landing.records(), &progress).await?;
        let records = landing.records();
        let messages = messages::replay(&bus, &spans, &which, records.clone(), &progress).await?;
        // Behind the quarantine: what was set aside when it came, too, is known by then.
        anyhow::ensure!(
            records.hand_on(answers.set_aside()).await,
            "landing has failed"
        );
        anyhow::Ok((answers, messages))
    };
    let worked = tokio::select! {
        worked = work => Some(worked),
        () = stop.cancelled() => None,
        () = progress.show() => None,
    };
    progress.finish();
    // Ends the landing whatever happened; its failure is why the others failed.
    let landed = landing.end().await;
    let Some(worked) = worked else {
        drop(landed);
        anyhow::bail!("stopped: {} was not made", into.display());
    };
    let landed = landed?;
    let (answers, messages) = worked?;
    let (rebuild, tally) = landed;
    let ranges = spans.positions();
    let digests = tokio::task::spawn_blocking(move || rebuild.finish(&ranges)).await??;
    Ok(Report::new(
        into,
        &spans,
        answers,
        messages,
        tally,
        digests,
        begun.elapsed(),
    ))
}

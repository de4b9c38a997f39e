//! `webhooks`: whether a receiver keeps up with a thousand deliveries a second, and what follows from
//! them.
//!
//! A real detect-changes, with a nats-server of its own and a simulated GitHub, is sent signed
//! deliveries at a fixed rate, whatever it answers: an answer that is late does not slow the next
//! delivery down, so waiting is counted where it hurts. The result is a table in Markdown.

mod load;
mod sender;
mod stage;

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use github_sim::{Config, Sim};

use crate::load::{Load, NAME, OWNER};
use crate::sender::Sent;
use crate::stage::{Outcome, Stage};

/// How long everything that was taken may need until it is settled.
const SETTLE: Duration = Duration::from_secs(120);

/// The most memory that detect-changes may have needed, in MB. A delivery is held until its request is in the
/// broker, `webhooks.max_delay` at the most: ten seconds of a thousand deliveries of 12 KB are 120 MB, and as much
/// again is for buffers and what the allocator keeps. It does not grow with how long the load lasts.
const MEMORY_MB: u64 = 300;

/// The most requests to fetch a pull request may lead to: a burst is one, and a fifth may be cut in two by
/// `webhooks.max_delay`, or by a pause in it. So many more are free, for loads of few pull requests.
const REQUESTS_EACH: f64 = 1.2;
const REQUESTS_FREE: f64 = 20.0;

/// Sends webhooks and prints a table in Markdown. Fails when a delivery is lost, refused or answered late, when
/// detect-changes needs too much memory, or when it asks for more fetches than there is to fetch.
#[derive(Debug, Parser)]
#[command(name = "webhooks", version)]
struct Arguments {
    /// Deliveries a second
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    rate: u64,
    /// For so many seconds
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// Deliveries about one pull request, within three seconds
    #[arg(long, value_name = "N", default_value_t = 100)]
    burst: u64,
    /// Connections that deliveries come on
    #[arg(long, value_name = "N", default_value_t = 64)]
    connections: usize,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let sim = Sim::start(Config::empty(OWNER, NAME)).context("the simulator does not start")?;
    let id = sim.repository_id(OWNER, NAME).context("no repository")?;
    let load = Load::new(id, (arguments.rate, arguments.seconds), arguments.burst)?;
    let stage = Stage::start(&sim).await?;
    eprintln!(
        "{} deliveries about {} pull requests, {} a second …",
        load.deliveries(),
        load.pull_requests(),
        arguments.rate
    );
    let sent = sender::send(&load, stage.address, arguments.connections).await?;
    let begun = Instant::now();
    while !stage.is_settled().await? {
        if begun.elapsed() > SETTLE {
            bail!("not everything was settled within {SETTLE:?}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let settled = begun.elapsed();
    let outcome = stage.outcome(load.pull_requests()).await?;
    let lost = lost(&load, &outcome);
    println!(
        "| deliveries | a second | answered 202 | known | refused | no answer | p50 ms | p99 ms | slowest ms | over 1 s |\n\
         |--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n\
         | {} | {:.0} | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        load.deliveries(),
        sent.rate(),
        sent.stored,
        sent.known,
        sent.refused,
        sent.failed,
        sent.percentile(50.0),
        sent.percentile(99.0),
        sent.percentile(100.0),
        sent.over(Duration::from_secs(1)),
    );
    println!(
        "| stored | lost | pull requests | change requests | a pull request | settled after s | memory MB |\n\
         |--:|--:|--:|--:|--:|--:|--:|\n\
         | {} | {lost} | {} | {} | {:.2} | {:.1} | {} |\n",
        outcome.stored,
        load.pull_requests(),
        outcome.requests,
        outcome.requests as f64 / load.pull_requests() as f64,
        settled.as_secs_f64(),
        outcome.memory_mb,
    );
    println!(
        "One in a hundred deliveries is a repetition. *Lost*: different deliveries that are not in \
         the stream. Answers are\ntimed from when the delivery was due, not from when a connection \
         was free for it. *Memory*: the most that\ndetect-changes had resident. Everything runs on \
         this machine, the sender included."
    );
    let broken = broken(&load, &sent, &outcome);
    stage.stop().await?;
    ensure!(broken.is_empty(), "{}", broken.join("; "));
    Ok(())
}

/// What is not as it is promised, in words.
fn broken(load: &Load, sent: &Sent, outcome: &Outcome) -> Vec<String> {
    let late = sent.over(Duration::from_secs(1)) as u64;
    let lost = lost(load, outcome);
    let most = REQUESTS_EACH * load.pull_requests() as f64 + REQUESTS_FREE;
    let checks = [
        (
            late + sent.refused + sent.failed > 0,
            format!(
                "{late} deliveries were answered after more than a second, {} refused, {} not answered",
                sent.refused, sent.failed
            ),
        ),
        (lost > 0, format!("{lost} deliveries are lost")),
        (
            outcome.missing > 0,
            format!("{} pull requests have no request", outcome.missing),
        ),
        (
            outcome.requests as f64 > most,
            format!(
                "{} requests for {} pull requests, and at most {most:.0} are to be",
                outcome.requests,
                load.pull_requests()
            ),
        ),
        (
            outcome.memory_mb > MEMORY_MB,
            format!(
                "detect-changes needed {} MB, and {MEMORY_MB} are enough",
                outcome.memory_mb
            ),
        ),
    ];
    let broken = checks.into_iter().filter(|(is_broken, _)| *is_broken);
    broken.map(|(_, words)| words).collect()
}

/// Different deliveries that are not in the stream.
fn lost(load: &Load, outcome: &Outcome) -> u64 {
    let unique = load.deliveries() - load.repeated();
    unique.saturating_sub(outcome.stored)
}

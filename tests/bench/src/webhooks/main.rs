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

use anyhow::{Context as _, bail};
use clap::Parser;
use github_sim::{Config, Sim};

use crate::load::{Load, NAME, OWNER};
use crate::stage::Stage;

/// How long everything that was taken may need until it is settled.
const SETTLE: Duration = Duration::from_secs(120);

/// Sends webhooks and prints a table in Markdown.
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
    let load = Load::new(arguments.rate, arguments.seconds, arguments.burst)?;
    let sim = Sim::start(Config::empty(OWNER, NAME)).context("the simulator does not start")?;
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
    let unique = load.deliveries() - load.repeated();
    let lost = unique.saturating_sub(outcome.stored);
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
    let late = sent.over(Duration::from_secs(1)) as u64;
    if late + sent.refused + sent.failed > 0 {
        bail!(
            "{late} deliveries were answered after more than a second, {} refused, {} not answered",
            sent.refused,
            sent.failed
        );
    }
    if lost > 0 || outcome.missing > 0 {
        bail!(
            "{lost} deliveries are lost, {} pull requests have no request",
            outcome.missing
        );
    }
    stage.stop().await
}

//! The recorded answers as the messages that a mirror would have made of them: at the time of each
//! record, GitHub's simulator is asked for that pull request with the mirror's own query.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use github_sim::{Config, Recording, Sim, WorldConfig};
use jiff::Timestamp;
use prmirror_github::{Client, ClientConfig, PageSizes, Token, Wanted};
use prmirror_proto::{Fetched, Lane, Provenance, RepositoryName, Source};
use serde::Deserialize;

/// The window of the recording's compression, as a power of two.
const WINDOW_LOG: u32 = 27;

/// Pull requests a document.
const TOGETHER: usize = 25;

/// Sizes in which hardly any pull request needs a further page.
const SIZES: PageSizes = PageSizes {
    first: 100,
    thread_comments: 100,
    after: 100,
};

/// A line of the recording, as far as it says what is asked for and when.
#[derive(Deserialize)]
struct Record {
    repository: String,
    number: u64,
    observed_at: Timestamp,
}

/// Writes the file, of the first records alone if not of all.
pub(crate) async fn make(recording: &Path, into: &Path, most: Option<usize>) -> anyhow::Result<()> {
    eprintln!("making {} …", into.display());
    let begun = Instant::now();
    let mut records = records(recording)?;
    records.truncate(most.unwrap_or(usize::MAX));
    let first = records.first().context("the recording is empty")?;
    let repository: RepositoryName = first.repository.parse()?;
    let mut config = Config::new(WorldConfig::Recording(Recording {
        path: recording.to_owned(),
        from: Some(first.observed_at),
        until: records.last().map(|record| record.observed_at),
    }));
    config.rate_limit = 1_000_000_000;
    config.secondary.points_per_minute = 1_000_000_000;
    let sim = Sim::start(config).context("the simulator does not start")?;
    let (client, _costs) = Client::new(ClientConfig {
        api_url: sim.url(),
        token: Token::new(sim.token()).context("a token")?,
        timeout: Duration::from_secs(120),
        max_in_flight: 1,
        user_agent: "bench-replay".to_owned(),
        stage: "bench",
        floor: 0,
    })?;
    let partial = into.with_extension("partial");
    let mut out = BufWriter::new(File::create(&partial)?);
    let mut written = 0;
    for window in windows(&records) {
        let Some(last) = window.last() else { continue };
        if sim.clock().now() < last.observed_at {
            sim.clock().advance_to(last.observed_at)?;
        }
        for asked in window.chunks(TOGETHER) {
            let wanted: Vec<Wanted> = asked
                .iter()
                .map(|record| Wanted {
                    number: record.number,
                    id: None,
                })
                .collect();
            let answers = client
                .pull_requests(&repository, Lane::Bulk, &wanted, SIZES)
                .await?;
            for (record, answer) in asked.iter().zip(answers) {
                let fetched = Fetched {
                    repository: repository.clone(),
                    number: record.number,
                    id: None,
                    observed_at: record.observed_at,
                    received_at: record.observed_at,
                    provenance: Provenance {
                        source: Source::Poll,
                        lane: Lane::Realtime,
                        noticed_at: record.observed_at,
                        changed_at: None,
                        request: format!("bench:#{}:{}", record.number, record.observed_at),
                        fetch_version: prmirror_proto::FETCH_VERSION,
                    },
                    outcome: answer?.outcome,
                };
                serde_json::to_writer(&mut out, &fetched)?;
                out.write_all(b"\n")?;
                written += 1;
            }
        }
    }
    out.into_inner()?.sync_all()?;
    std::fs::rename(partial, into)?;
    eprintln!(
        "{written} answers in {:.0} s",
        begun.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Every record, in the order of time.
fn records(recording: &Path) -> anyhow::Result<Vec<Record>> {
    let mut decoder = zstd::stream::read::Decoder::new(File::open(recording)?)?;
    decoder.window_log_max(WINDOW_LOG)?;
    let mut records = Vec::new();
    for line in BufReader::with_capacity(1 << 20, decoder).lines() {
        records.push(serde_json::from_str::<Record>(&line?)?);
    }
    records.sort_by_key(|record| (record.observed_at, record.number));
    Ok(records)
}

/// Stretches in which no pull request is there twice: its newest record at their end is the one in them.
fn windows(records: &[Record]) -> Vec<&[Record]> {
    let mut windows = Vec::new();
    let mut seen = BTreeSet::new();
    let mut begin = 0;
    for (place, record) in records.iter().enumerate() {
        if !seen.insert(record.number) {
            windows.extend(records.get(begin..place));
            begin = place;
            seen.clear();
            seen.insert(record.number);
        }
    }
    windows.extend(records.get(begin..));
    windows
}

//! Replays of a file of answers, and DuckDB's reading of it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use duckdb::Connection;
use prmirror_kit::testing::NatsServer;
use prmirror_kit::{Bus, Outgoing};
use prmirror_proto::Fetched;
use serde_json::Value;

/// Messages that are published together.
const TOGETHER: usize = 500;

/// How often a running replay is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// One replay.
pub(crate) struct Replay {
    report: Value,
    /// Seconds of processor time.
    processor: f64,
    /// The most memory that it had, in MiB.
    memory: f64,
}

/// DuckDB's reading.
pub(crate) struct Read {
    rows: u64,
    bytes: u64,
    /// Seconds into a table with a column for each field.
    typed: f64,
    /// Seconds that only parsing takes.
    parsed: f64,
}

/// Publishes the answers and replays them, again and again.
pub(crate) async fn replays(answers: &Path, times: u32) -> anyhow::Result<Vec<Replay>> {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    publish(&bus, answers).await?;
    let folder = tempfile::tempdir()?;
    let mut replays = Vec::new();
    for n in 0..times {
        let into = folder.path().join(format!("{n}.duckdb"));
        let url = server.url();
        let replay = tokio::task::spawn_blocking(move || replay(&url, &into)).await??;
        eprintln!("replay {}: {:.0} answers a second", n + 1, replay.rate());
        replays.push(replay);
    }
    Ok(replays)
}

async fn publish(bus: &Bus, answers: &Path) -> anyhow::Result<()> {
    eprintln!("publishing {} …", answers.display());
    let mut messages = Vec::with_capacity(TOGETHER);
    for line in BufReader::with_capacity(1 << 20, File::open(answers)?).lines() {
        messages.push(Outgoing::new(&serde_json::from_str::<Fetched>(&line?)?)?);
        if messages.len() == TOGETHER {
            bus.publish_all(std::mem::take(&mut messages), None).await?;
        }
    }
    bus.publish_all(messages, None).await?;
    Ok(())
}

fn replay(url: &str, into: &Path) -> anyhow::Result<Replay> {
    let own = std::env::current_exe().context("where this program is")?;
    let folder = into.parent().context("a folder")?;
    let mut child = Command::new(own.with_file_name("prmirror"))
        .args(["replay", "--json", "--nats", url, "--into"])
        .arg(into)
        .arg("--data")
        .arg(folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(File::create(into.with_extension("json"))?)
        .spawn()
        .context("prmirror is not beside this program: cargo build --workspace --bins")?;
    let (mut processor, mut memory) = (0.0, 0.0);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        processor = processor_of(child.id()).unwrap_or(processor);
        memory = memory_of(child.id()).unwrap_or(memory);
        std::thread::sleep(LOOK);
    };
    ensure!(status.success(), "prmirror replay: {status}");
    let report = serde_json::from_reader(File::open(into.with_extension("json"))?)?;
    Ok(Replay {
        report,
        processor,
        memory,
    })
}

/// Seconds of processor time that a process has used.
fn processor_of(pid: u32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks = |place: usize| rest.split_whitespace().nth(place)?.parse::<f64>().ok();
    // Linux counts in hundredths of a second, whatever its own clock does.
    Some((ticks(11)? + ticks(12)?) / 100.0)
}

/// The most memory that a process had, in MiB.
fn memory_of(pid: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

/// Has DuckDB read the answers, with two threads as the replay has.
pub(crate) fn read_json(answers: &Path) -> anyhow::Result<Read> {
    let connection = Connection::open_in_memory()?;
    connection.execute_batch("SET threads = 2")?;
    let Some(path) = answers.to_str() else {
        bail!("{}: no UTF-8", answers.display());
    };
    let path = path.replace('\'', "''");
    let options = "format = 'newline_delimited', maximum_object_size = 134217728";
    let timed = |sql: &str| -> anyhow::Result<f64> {
        let begun = Instant::now();
        connection.execute_batch(sql)?;
        Ok(begun.elapsed().as_secs_f64())
    };
    eprintln!("DuckDB reads the same …");
    let parsed = timed(&format!(
        "CREATE TABLE parsed AS
         SELECT json->>'$.number' AS number FROM read_json_objects('{path}', {options})"
    ))?;
    let typed = timed(&format!(
        "CREATE TABLE typed AS FROM read_json('{path}', {options})"
    ))?;
    let rows = connection.query_row("SELECT count(*) FROM typed", [], |row| row.get(0))?;
    Ok(Read {
        rows,
        bytes: std::fs::metadata(answers)?.len(),
        typed,
        parsed,
    })
}

impl Replay {
    fn number(&self, pointer: &str) -> f64 {
        let number = self.report.pointer(pointer).and_then(Value::as_f64);
        number.unwrap_or(f64::NAN)
    }

    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.number("/answers_per_second")
    }
}

/// The table.
pub(crate) fn markdown(replays: &[Replay], read: &Read) -> String {
    let mut text = format!(
        "{} answers, {:.0} MB of JSON\n\n\
         | | seconds | answers a second | processor seconds | judging | comparing | landing | MiB | \
         times `read_json` |\n|---|---|---|---|---|---|---|---|---|\n",
        read.rows,
        read.bytes as f64 / 1e6
    );
    let rows = read.rows as f64;
    for (n, replay) in replays.iter().enumerate() {
        let seconds = replay.number("/seconds");
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "| replay {} | {seconds:.1} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {:.0} | {:.2} |",
            n + 1,
            replay.rate(),
            replay.processor,
            replay.number("/answers/judging"),
            replay.number("/answers/compared/comparing"),
            replay.number("/landing/landing"),
            replay.memory,
            seconds / read.typed,
        );
    }
    for (what, seconds) in [
        ("DuckDB `read_json` into a table", read.typed),
        ("DuckDB `read_json_objects`, one field", read.parsed),
    ] {
        let _ = writeln!(
            text,
            "| {what} | {seconds:.1} | {:.0} | | | | | | {:.2} |",
            rows / seconds,
            seconds / read.typed
        );
    }
    text
}

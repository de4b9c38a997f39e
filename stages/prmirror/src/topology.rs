//! `topology`: how messages flow from stage to stage, drawn; with what waits where while it runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::Args;
use futures::TryStreamExt as _;
use prmirror_analytics::{Column, Table};
use prmirror_kit::Bus;
use prmirror_kit::config::{Pipeline, STAGES};
use prmirror_proto::subjects::{
    STREAM_CHANGES, STREAM_CHANGESETS, STREAM_COSTS, STREAM_EVENTS, STREAM_FETCHED,
    STREAM_FINDINGS, STREAM_INVENTORY, STREAM_JOBS, STREAM_QUARANTINE, STREAM_SUBJECTS,
    STREAM_VALID, STREAM_WEBHOOKS,
};
use serde::Serialize;

use crate::arguments::{EXIT_COMPLETE, Place};
use crate::ask::connect;

/// Arguments of `topology`.
#[derive(Clone, Debug, Args)]
pub(crate) struct TopologyArgs {
    #[command(flatten)]
    place: Place,
    /// For Graphviz: prmirror topology --dot | dot -Tsvg
    #[arg(long, conflicts_with_all = ["mermaid", "json"])]
    dot: bool,
    /// For Mermaid, as Markdown viewers draw it
    #[arg(long, conflicts_with = "json")]
    mermaid: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What each stage writes: nothing but the code of the stages says so. What it reads, its consumers
/// say.
const WRITES: [(&str, &[&str]); 6] = [
    (
        "detect-changes",
        &[
            STREAM_CHANGES,
            STREAM_INVENTORY,
            STREAM_WEBHOOKS,
            STREAM_COSTS,
        ],
    ),
    ("fetch-pr", &[STREAM_FETCHED, STREAM_COSTS]),
    ("validate", &[STREAM_VALID, STREAM_CHANGES]),
    ("diff-integrity", &[STREAM_CHANGESETS, STREAM_EVENTS]),
    ("publish", &[STREAM_FINDINGS]),
    ("verify", &[STREAM_INVENTORY, STREAM_COSTS]),
];

/// What each stage reads, for the picture of a mirror that does not run.
const READS: [(&str, &[&str]); 5] = [
    ("detect-changes", &[STREAM_FINDINGS]),
    ("fetch-pr", &[STREAM_CHANGES]),
    ("validate", &[STREAM_FETCHED]),
    ("diff-integrity", &[STREAM_VALID]),
    (
        "publish",
        &[
            STREAM_CHANGESETS,
            STREAM_INVENTORY,
            STREAM_QUARANTINE,
            STREAM_COSTS,
            STREAM_JOBS,
        ],
    ),
];

/// A stream.
#[derive(Clone, Debug, Serialize)]
struct StreamNode {
    name: &'static str,
    subjects: &'static str,
    /// How long messages are kept, in seconds; 0 is without end.
    max_age_seconds: u64,
    /// Messages that it holds; none when it does not run.
    messages: Option<u64>,
    bytes: Option<u64>,
}

/// A durable consumer.
#[derive(Clone, Debug, Serialize)]
struct ConsumerNode {
    stream: String,
    name: String,
    /// The stage that reads it; others are subscribers of the public feed.
    stage: Option<&'static str>,
    filter: String,
    /// Not delivered yet.
    pending: u64,
    /// Delivered and not acknowledged.
    in_hand: usize,
    redelivered: usize,
}

/// Everything that is drawn.
#[derive(Clone, Debug, Serialize)]
struct Topology {
    running: bool,
    repositories: Vec<String>,
    stages: BTreeMap<&'static str, u32>,
    streams: Vec<StreamNode>,
    consumers: Vec<ConsumerNode>,
}

/// Draws it.
pub(crate) async fn topology(args: TopologyArgs) -> anyhow::Result<u8> {
    let pipeline = args.place.running()?;
    let mut topology = Topology::of(&pipeline);
    match connect(&args.place).await {
        Ok(bus) => topology.look(&bus).await?,
        Err(error) => eprintln!("prmirror: as configured, without what waits: {error:#}"),
    }
    let text = if args.json {
        format!("{}\n", serde_json::to_string_pretty(&topology)?)
    } else if args.dot {
        topology.dot()
    } else if args.mermaid {
        topology.mermaid()
    } else {
        topology.text()
    };
    print!("{text}");
    Ok(EXIT_COMPLETE)
}

/// What waits for whom, as a table.
pub(crate) async fn waiting(bus: &Bus, pipeline: &Pipeline) -> anyhow::Result<Table> {
    let mut topology = Topology::of(pipeline);
    topology.look(bus).await?;
    let names = [
        "stage",
        "consumer",
        "stream",
        "waiting",
        "in_hand",
        "delivered_again",
    ];
    let columns = names.map(|name| Column {
        name: name.to_owned(),
        column_type: "VARCHAR".to_owned(),
    });
    let consumers = topology.consumers.iter();
    let rows: Vec<Vec<serde_json::Value>> = consumers
        .map(|consumer| {
            vec![
                consumer.stage.unwrap_or("subscriber").into(),
                consumer.name.as_str().into(),
                consumer.stream.as_str().into(),
                consumer.pending.into(),
                consumer.in_hand.into(),
                consumer.redelivered.into(),
            ]
        })
        .collect();
    Ok(Table {
        columns: columns.into(),
        rows,
        truncated: false,
    })
}

/// The stage that a durable consumer belongs to.
fn stage_of(consumer: &str) -> Option<&'static str> {
    STAGES.into_iter().find(|stage| {
        consumer == *stage
            || consumer
                .strip_prefix(stage)
                .is_some_and(|rest| rest.starts_with('-'))
    })
}

impl Topology {
    fn of(pipeline: &Pipeline) -> Self {
        let streams = STREAM_SUBJECTS
            .into_iter()
            .map(|(name, subjects)| StreamNode {
                name,
                subjects,
                max_age_seconds: pipeline.streams.limits(name).max_age.as_secs(),
                messages: None,
                bytes: None,
            });
        let stages = STAGES.into_iter();
        Self {
            running: false,
            repositories: pipeline
                .repositories
                .iter()
                .map(|r| r.name.to_string())
                .collect(),
            stages: stages
                .map(|stage| (stage, pipeline.stage(stage).instances))
                .collect(),
            streams: streams.collect(),
            consumers: Vec::new(),
        }
    }

    /// Adds what the broker tells.
    async fn look(&mut self, bus: &Bus) -> anyhow::Result<()> {
        self.running = true;
        for stream in &mut self.streams {
            let handle = bus.jetstream().get_stream(stream.name).await?;
            let state = &handle.cached_info().state;
            stream.messages = Some(state.messages);
            stream.bytes = Some(state.bytes);
            let mut consumers = handle.consumers();
            while let Some(info) = consumers.try_next().await? {
                // Others come and go: somebody looks at something.
                if info.config.durable_name.is_none() {
                    continue;
                }
                self.consumers.push(ConsumerNode {
                    stream: stream.name.to_owned(),
                    stage: stage_of(&info.name),
                    filter: info.config.filter_subject.clone(),
                    pending: info.num_pending,
                    in_hand: info.num_ack_pending,
                    redelivered: info.num_redelivered,
                    name: info.name,
                });
            }
        }
        Ok(())
    }

    /// From which stream to which stage; with the consumer, while it runs.
    fn reads(&self) -> Vec<(&str, &str, Option<&ConsumerNode>)> {
        if self.running {
            let consumers = self.consumers.iter();
            return consumers
                .map(|c| (c.stream.as_str(), c.stage.unwrap_or(&c.name), Some(c)))
                .collect();
        }
        let reads = READS.iter();
        reads
            .flat_map(|(stage, streams)| streams.iter().map(|stream| (*stream, *stage, None)))
            .collect()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text never fails.
        let _ = self.write_text(&mut text);
        text
    }

    fn write_text(&self, f: &mut String) -> std::fmt::Result {
        writeln!(f, "GitHub ({})", self.repositories.join(", "))?;
        for (stage, instances) in WRITES
            .iter()
            .map(|(stage, _)| (*stage, self.stages.get(stage)))
        {
            let several = instances.filter(|n| **n > 1).map(|n| format!(" ×{n}"));
            writeln!(f, "\n{stage}{}", several.unwrap_or_default())?;
            for (stream, _, consumer) in self.reads().into_iter().filter(|r| r.1 == stage) {
                let waits = consumer.map_or_else(String::new, ConsumerNode::waits);
                writeln!(f, "  reads   {stream:<14}{waits}")?;
            }
            for (_, streams) in WRITES.iter().filter(|(writer, _)| *writer == stage) {
                for name in *streams {
                    let stream = self.streams.iter().find(|stream| stream.name == *name);
                    let holds = stream.map_or_else(String::new, StreamNode::holds);
                    writeln!(f, "  writes  {name:<14}{holds}")?;
                }
            }
        }
        writeln!(f, "\nevery stage")?;
        for name in [STREAM_QUARANTINE, STREAM_JOBS] {
            let stream = self.streams.iter().find(|stream| stream.name == name);
            let holds = stream.map_or_else(String::new, StreamNode::holds);
            writeln!(f, "  writes  {name:<14}{holds}")?;
        }
        let others: Vec<_> = self
            .consumers
            .iter()
            .filter(|c| c.stage.is_none())
            .collect();
        if !others.is_empty() {
            writeln!(f, "\nsubscribers")?;
        }
        for consumer in others {
            let (stream, name) = (&consumer.stream, &consumer.name);
            writeln!(f, "  {name} reads {stream}{}", consumer.waits())?;
        }
        Ok(())
    }

    /// Edges: from, to, and what is written beside it.
    fn edges(&self) -> Vec<(String, String, String)> {
        let mut edges = vec![
            (
                "GitHub".to_owned(),
                "detect-changes".to_owned(),
                "polls, sweeps".to_owned(),
            ),
            (
                "GitHub".to_owned(),
                "fetch-pr".to_owned(),
                "pull requests".to_owned(),
            ),
            ("GitHub".to_owned(), "verify".to_owned(), "again".to_owned()),
            ("publish".to_owned(), "DuckDB".to_owned(), String::new()),
        ];
        for (stage, streams) in WRITES {
            let to = streams
                .iter()
                .map(|s| (stage.to_owned(), (*s).to_owned(), String::new()));
            edges.extend(to);
        }
        for (stream, reader, consumer) in self.reads() {
            let label = consumer.map_or_else(String::new, |consumer| {
                match consumer.pending + consumer.in_hand as u64 {
                    0 => String::new(),
                    waiting => format!("{waiting} waiting"),
                }
            });
            edges.push((stream.to_owned(), reader.to_owned(), label));
        }
        edges
    }

    fn dot(&self) -> String {
        let mut text =
            String::from("digraph prmirror {\n  rankdir=LR;\n  node [shape=box, style=rounded];\n");
        for stream in &self.streams {
            let label = format!("{}\\n{}", stream.name, stream.subjects);
            // Writing to a text never fails.
            let _ = writeln!(
                text,
                "  \"{}\" [shape=cds, style=\"\", label=\"{label}\"];",
                stream.name
            );
        }
        for (from, to, label) in self.edges() {
            let _ = writeln!(text, "  \"{from}\" -> \"{to}\" [label=\"{label}\"];");
        }
        text.push_str("}\n");
        text
    }

    fn mermaid(&self) -> String {
        let mut text = String::from("flowchart LR\n");
        let id = |name: &str| name.replace('-', "_");
        for stream in &self.streams {
            // Writing to a text never fails.
            let _ = writeln!(
                text,
                "  {}[[\"{}<br>{}\"]]",
                stream.name, stream.name, stream.subjects
            );
        }
        for stage in WRITES.iter().map(|(stage, _)| stage) {
            let _ = writeln!(text, "  {}([\"{stage}\"])", id(stage));
        }
        for (from, to, label) in self.edges() {
            let arrow = if label.is_empty() {
                "-->".to_owned()
            } else {
                format!("-->|{label}|")
            };
            let _ = writeln!(text, "  {} {arrow} {}", id(&from), id(&to));
        }
        text
    }
}

impl StreamNode {
    fn holds(&self) -> String {
        let kept = match self.max_age_seconds {
            0 => "kept until done".to_owned(),
            seconds => format!("kept {:.0} d", seconds as f64 / 86_400.0),
        };
        match (self.messages, self.bytes) {
            (Some(messages), Some(bytes)) => {
                let megabytes = bytes as f64 / 1e6;
                format!("  {messages} messages, {megabytes:.1} MB, {kept}")
            }
            _ => format!("  {kept}"),
        }
    }
}

impl ConsumerNode {
    fn waits(&self) -> String {
        let redelivered = match self.redelivered {
            0 => String::new(),
            n => format!(", {n} delivered again"),
        };
        format!(
            "  {} ({}): {} waiting, {} in hand{redelivered}",
            self.name, self.filter, self.pending, self.in_hand
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_and_stream_is_drawn() {
        let topology = Topology::of(&Pipeline::default());
        for drawn in [topology.text(), topology.dot(), topology.mermaid()] {
            for stage in STAGES {
                assert!(drawn.contains(stage), "{stage}: {drawn}");
            }
            for (stream, _) in STREAM_SUBJECTS {
                assert!(drawn.contains(stream), "{stream}: {drawn}");
            }
        }
        assert_eq!(topology.dot().matches('{').count(), 1);
    }

    #[test]
    fn a_consumer_belongs_to_the_stage_that_it_is_named_after() {
        assert_eq!(stage_of("validate"), Some("validate"));
        assert_eq!(stage_of("fetch-pr-bulk"), Some("fetch-pr"));
        assert_eq!(stage_of("validators"), None);
    }
}

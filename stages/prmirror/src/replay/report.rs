//! What a replay did, for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use prmirror_analytics::TableDigest;
use serde::Serialize;

use super::answers::Answers;
use super::land::Tally;
use super::messages::Read;
use super::span::{Span, Spans};

/// Unreadable messages that are named; of more, their number is told.
const NAMED: usize = 5;

/// What a replay did.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    into: PathBuf,
    span: Span,
    since: Timestamp,
    /// The last message of each stream that is in it.
    positions: BTreeMap<String, u64>,
    gone_before: u64,
    seconds: f64,
    answers_per_second: f64,
    answers: Answers,
    messages: BTreeMap<String, Read>,
    landing: Tally,
    tables: Vec<TableDigest>,
}

impl Report {
    pub(crate) fn new(
        into: &Path,
        spans: &Spans,
        answers: Answers,
        messages: BTreeMap<String, Read>,
        landing: Tally,
        tables: Vec<TableDigest>,
        took: Duration,
    ) -> Self {
        let seconds = took.as_secs_f64();
        Self {
            into: into.to_owned(),
            span: spans.answers.clone(),
            since: spans.since,
            positions: spans
                .positions()
                .into_iter()
                .map(|range| (range.stream, range.last))
                .collect(),
            gone_before: spans.gone,
            seconds,
            answers_per_second: answers.read as f64 / seconds.max(0.001),
            answers,
            messages,
            landing,
            tables,
        }
    }

    /// Whether everything in the range is in the tables, or was refused by validation.
    pub(crate) fn is_complete(&self) -> bool {
        let messages = self
            .messages
            .values()
            .all(|read| read.unreadable.is_empty());
        messages && self.answers.unreadable.is_empty() && self.landing.refused.is_empty()
    }

    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let (answers, span) = (&self.answers, &self.span);
        let compared = &answers.compared;
        writeln!(
            out,
            "{} answers of {} {} to {}, {} to {}, in {:.1} s ({:.0} a second) into {}",
            answers.read,
            span.stream,
            span.first,
            span.last,
            self.since,
            span.until,
            self.seconds,
            self.answers_per_second,
            self.into.display()
        )?;
        writeln!(
            out,
            "  {} new, {} changed ({} events), {} confirmed, {} gone, {} superseded",
            compared.new,
            compared.changed,
            compared.events,
            compared.confirmed,
            compared.gone,
            compared.superseded
        )?;
        writeln!(
            out,
            "  {} not believed before they were said again, {} from a replica that lagged behind",
            answers.asked_again, compared.stale
        )?;
        for (code, count) in &answers.refused {
            writeln!(out, "  {count} refused: {code}")?;
        }
        if self.gone_before > 0 {
            writeln!(
                out,
                "  {} answers before {} are no longer in the stream: what only they told is not in the \
                 file",
                self.gone_before, self.since
            )?;
        }
        for (stream, read) in &self.messages {
            writeln!(out, "{} messages of {stream}", read.chosen)?;
        }
        let unreadable = self.messages.iter().flat_map(|(stream, read)| {
            let read = read.unreadable.iter();
            read.map(move |(sequence, reason)| (stream, *sequence, reason))
        });
        let answers = answers.unreadable.iter();
        let answers = answers.map(|(sequence, reason)| (&span.stream, *sequence, reason));
        let refused = self.landing.refused.iter();
        let refused = refused.map(|(stream, sequence, reason)| (stream, *sequence, reason));
        let lost: Vec<_> = answers.chain(unreadable).chain(refused).collect();
        for (stream, sequence, reason) in lost.iter().take(NAMED) {
            writeln!(
                out,
                "NOT in the file: message {sequence} of {stream}: {reason}"
            )?;
        }
        if lost.len() > NAMED {
            writeln!(out, "NOT in the file: {} more", lost.len() - NAMED)?;
        }
        self.write_tables(out)
    }

    fn write_tables(&self, out: &mut String) -> std::fmt::Result {
        let widest = self.tables.iter().map(|table| table.table.len()).max();
        let widest = widest.unwrap_or(0);
        for table in &self.tables {
            let without = if table.without.is_empty() {
                String::new()
            } else {
                format!("  without {}", table.without.join(", "))
            };
            writeln!(
                out,
                "{:widest$}  {:>10} rows  {}{without}",
                table.table, table.rows, table.digest
            )?;
        }
        Ok(())
    }
}

//! Which messages have landed: the other half of exactly once.
//!
//! A durable consumer redelivers what was not acknowledged, and may deliver newer messages first. One
//! number a stream would then skip what it never saw, so what has landed is kept as ranges, which are
//! one range while nothing is missing.

use std::collections::BTreeMap;

use duckdb::Connection;
use jiff::Timestamp;

use crate::batch::Sequenced;
use crate::error::DatabaseError;
use crate::ranges::Ranges;
use crate::rows::{Kind, Rows, Shape};

/// More gaps than this come from messages that the stream dropped, not from a consumer's window; the
/// lowest are then closed.
const MOST_RANGES: usize = 1_000;

pub(crate) const SHAPE: Shape = Shape::new(
    "stream_positions",
    &[
        ("stream", Kind::Text),
        ("first_sequence", Kind::Number),
        ("last_sequence", Kind::Number),
        ("newest_published_at", Kind::Time),
    ],
);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Position {
    landed: Ranges,
    /// In microseconds since the epoch.
    newest_published_at: i64,
}

/// The positions of all streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Positions(BTreeMap<String, Position>);

/// What [`Positions::admit`] says of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is new.
    New,
    /// It has landed.
    Landed,
    /// It is new: its sequence has landed, but of an earlier stream of that name.
    NewStream,
}

impl Positions {
    /// Reads them.
    pub(crate) fn read(connection: &Connection) -> Result<Self, DatabaseError> {
        let mut statement = connection.prepare(
            "SELECT stream, first_sequence, last_sequence, epoch_us(newest_published_at)
             FROM stream_positions ORDER BY stream, first_sequence",
        )?;
        let mut rows = statement.query([])?;
        let mut read: BTreeMap<String, (Vec<(u64, u64)>, i64)> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let (ranges, newest) = read.entry(row.get(0)?).or_default();
            ranges.push((row.get(1)?, row.get(2)?));
            *newest = row.get(3)?;
        }
        Ok(Self(
            read.into_iter()
                .map(|(stream, (ranges, newest_published_at))| {
                    let landed = ranges.into_iter().collect();
                    (
                        stream,
                        Position {
                            landed,
                            newest_published_at,
                        },
                    )
                })
                .collect(),
        ))
    }

    /// Takes a message in, if it has not landed.
    ///
    /// Within one stream a higher sequence was never published earlier; a landed sequence that is
    /// younger than all that has landed therefore belongs to a stream that was made anew, whose
    /// numbers begin again.
    pub(crate) fn admit(&mut self, message: &Sequenced) -> Admission {
        let published = message.published_at.as_microsecond();
        let position = self
            .0
            .entry(message.stream.clone())
            .or_insert_with(|| Position {
                landed: Ranges::default(),
                newest_published_at: i64::MIN,
            });
        let mut admission = Admission::New;
        if position.landed.contains(message.sequence) {
            if published <= position.newest_published_at {
                return Admission::Landed;
            }
            position.landed = Ranges::default();
            admission = Admission::NewStream;
        }
        position.landed.insert(message.sequence);
        if position.landed.len() > MOST_RANGES {
            position.landed.close_lowest_gap();
        }
        position.newest_published_at = position.newest_published_at.max(published);
        admission
    }

    /// Declares everything of a stream from `first` to `last` landed, and nothing else of it.
    pub(crate) fn set(&mut self, stream: &str, first: u64, last: u64, newest: Timestamp) {
        let position = Position {
            landed: std::iter::once((first, last)).collect(),
            newest_published_at: newest.as_microsecond(),
        };
        self.0.insert(stream.to_owned(), position);
    }

    /// Writes those of some streams.
    pub(crate) fn write<'a>(
        &self,
        connection: &Connection,
        streams: impl IntoIterator<Item = &'a String>,
    ) -> Result<(), DatabaseError> {
        let mut rows = Rows::new(&SHAPE);
        for stream in streams {
            connection.execute("DELETE FROM stream_positions WHERE stream = ?", [stream])?;
            let Some(position) = self.0.get(stream) else {
                continue;
            };
            for (first, last) in position.landed.iter() {
                rows.text(stream);
                rows.number(first);
                rows.number(last);
                rows.micros(Some(position.newest_published_at));
            }
        }
        rows.append(connection)
    }

    /// Up to where each stream has landed without a gap.
    pub(crate) fn contiguous(&self) -> BTreeMap<String, u64> {
        self.0
            .iter()
            .filter_map(|(stream, position)| Some((stream.clone(), position.landed.contiguous()?)))
            .collect()
    }

    /// The highest that has landed of each stream.
    pub(crate) fn highest(&self) -> BTreeMap<String, u64> {
        self.0
            .iter()
            .filter_map(|(stream, position)| Some((stream.clone(), position.landed.last()?)))
            .collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prmirror_proto::{InventoryPage, InventoryScope, RepositoryName, Source};

    use super::*;
    use crate::Record;

    fn message(sequence: u64, published: i64) -> Sequenced {
        Sequenced {
            stream: "S".to_owned(),
            sequence,
            message_id: String::new(),
            published_at: Timestamp::from_second(published).unwrap(),
            record: Record::Inventory(InventoryPage {
                repository: RepositoryName::new("o", "r").unwrap(),
                source: Source::Poll,
                scope: InventoryScope::Recent,
                scan: String::new(),
                scan_started_at: Timestamp::UNIX_EPOCH,
                page: 0,
                last: false,
                total_count: 0,
                observed_at: Timestamp::UNIX_EPOCH,
                entries: Vec::new(),
            }),
        }
    }

    #[test]
    fn what_the_stream_dropped_is_not_waited_for_for_ever() {
        let mut positions = Positions::default();
        let last = 2 * MOST_RANGES as u64 + 400;
        for sequence in (2..=last).step_by(2) {
            assert_eq!(positions.admit(&message(sequence, 1)), Admission::New);
        }
        let ranges = &positions.0["S"].landed;
        assert_eq!(ranges.len(), MOST_RANGES);
        // The lowest gaps were closed, the others are open.
        assert_eq!(positions.admit(&message(3, 1)), Admission::Landed);
        assert_eq!(positions.admit(&message(last - 1, 1)), Admission::New);
    }

    #[test]
    fn a_landed_sequence_that_is_younger_than_all_belongs_to_another_stream() {
        let mut positions = Positions::default();
        for (sequence, published) in [(1, 10), (2, 20)] {
            positions.admit(&message(sequence, published));
        }
        assert_eq!(positions.admit(&message(1, 10)), Admission::Landed);
        assert_eq!(positions.admit(&message(2, 20)), Admission::Landed);
        assert_eq!(positions.admit(&message(1, 21)), Admission::NewStream);
        assert_eq!(positions.contiguous()["S"], 1);
        assert_eq!(positions.admit(&message(2, 22)), Admission::New);
    }
}

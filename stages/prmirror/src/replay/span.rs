//! Which messages are read again: what was asked for, and what of it the streams still have.

use std::str::FromStr;

use anyhow::bail;
use jiff::{SignedDuration, Timestamp};
use prmirror_analytics::StreamRange;
use prmirror_kit::{Bus, Place, StreamError};
use prmirror_proto::RepositoryName;
use prmirror_proto::subjects::{
    STREAM_CHANGESETS, STREAM_FETCHED, pull_request_key, repository_key,
};
use serde::Serialize;

use crate::arguments::Unusable;

/// How far the clocks of a cluster's servers may be apart. What is landed twice for it changes nothing.
const CLOCKS: SignedDuration = SignedDuration::from_secs(5);

/// A place in the stream of answers, as people give it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Sequence(u64),
    Time(Timestamp),
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(sequence) = text.parse() {
            return Ok(Self::Sequence(sequence));
        }
        text.parse().map(Self::Time).map_err(|_| {
            "write a stream sequence such as 1200, or a time such as 2026-11-23T03:00:00Z"
                .to_owned()
        })
    }
}

/// A pull request, as people name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PullRequest {
    pub(crate) repository: RepositoryName,
    pub(crate) number: u64,
}

impl FromStr for PullRequest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || "write owner/name#number, such as duckdb/duckdb#12".to_owned();
        let (repository, number) = text.split_once('#').ok_or_else(wrong)?;
        Ok(Self {
            repository: repository.parse().map_err(|_| wrong())?,
            number: number.parse().map_err(|_| wrong())?,
        })
    }
}

/// What is read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Which {
    Everything,
    Repository(RepositoryName),
    PullRequest(PullRequest),
}

impl Which {
    pub(crate) fn new(repository: Option<RepositoryName>, pr: Option<PullRequest>) -> Self {
        match (repository, pr) {
            (_, Some(pr)) => Self::PullRequest(pr),
            (Some(repository), None) => Self::Repository(repository),
            (None, None) => Self::Everything,
        }
    }

    fn answers(&self) -> String {
        match self {
            Self::Everything => "pr.fetched.>".to_owned(),
            Self::Repository(repository) => format!("pr.fetched.{}.>", repository_key(repository)),
            Self::PullRequest(pr) => {
                format!("pr.fetched.{}", pull_request_key(&pr.repository, pr.number))
            }
        }
    }

    /// Whether a message about this repository, or about none, belongs to it.
    pub(crate) fn has(&self, repository: Option<&RepositoryName>) -> bool {
        match self {
            Self::Everything => true,
            Self::Repository(wanted) => repository == Some(wanted),
            Self::PullRequest(_) => false,
        }
    }
}

/// What is read of one stream.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Span {
    pub(crate) stream: String,
    pub(crate) filter: String,
    /// The first sequence; beyond the last, nothing is read.
    pub(crate) first: u64,
    /// The last.
    pub(crate) last: u64,
    /// When the newest of them was stored, or later.
    pub(crate) until: Timestamp,
}

impl Span {
    /// Sequences between its ends.
    pub(crate) const fn len(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

/// What is read of all streams.
#[derive(Clone, Debug)]
pub(crate) struct Spans {
    pub(crate) answers: Span,
    /// When the first answer was stored.
    pub(crate) since: Timestamp,
    /// Messages that are landed as they are.
    pub(crate) messages: Vec<Span>,
    /// The last changeset that follows from these answers and from none that is later; none where only
    /// some of the answers are read, for then there are changesets before it that follow from others.
    changesets: Option<u64>,
    /// How many answers before the first are gone, when all were asked for.
    pub(crate) gone: u64,
}

impl Spans {
    /// Finds the ends in the streams.
    ///
    /// # Errors
    /// When there is nothing to read, or something that was asked for is gone.
    pub(crate) async fn resolve(
        bus: &Bus,
        from: Option<At>,
        to: Option<At>,
        which: &Which,
    ) -> anyhow::Result<Self> {
        let (answers, since, gone) = answers(bus, from, to, which.answers()).await?;
        let mut messages = Vec::new();
        for (stream, _, subjects) in publish::INPUTS {
            // Changesets are made again.
            if stream == STREAM_CHANGESETS || matches!(which, Which::PullRequest(_)) {
                continue;
            }
            let state = bus.stream_state(stream).await?;
            let first = match from {
                None => state.first_sequence,
                Some(_) => {
                    let found = bus.find(stream, Place::Time(since)).await?;
                    found.map_or(state.last_sequence + 1, |(first, _)| first)
                }
            };
            let last = match to {
                None => state.last_sequence,
                Some(_) => last_until(bus, stream, answers.until, state.last_sequence).await?,
            };
            // By the broker's clock: what is delivered again is recognised by it.
            let newest = bus.find(stream, Place::Sequence(last)).await?;
            let until = newest.map_or(answers.until, |(_, at)| at);
            messages.push(Span {
                stream: stream.to_owned(),
                filter: subjects.to_owned(),
                first: first.max(1),
                last,
                until,
            });
        }
        let changesets = match which {
            Which::Everything => {
                let end = bus.stream_state(STREAM_CHANGESETS).await?.last_sequence;
                let before = answers.until.checked_sub(CLOCKS)?;
                Some(last_until(bus, STREAM_CHANGESETS, before, end).await?)
            }
            Which::Repository(_) | Which::PullRequest(_) => None,
        };
        Ok(Self {
            answers,
            since,
            messages,
            changesets,
            gone,
        })
    }

    /// What of each stream is in tables that were made of these: everything up to the last, for what
    /// came before is in them, in the live database, or gone. Without the last changeset the file cannot
    /// take the place of the live one.
    pub(crate) fn positions(&self) -> Vec<StreamRange> {
        let changesets = self.changesets;
        let changesets = changesets.map(|last| (STREAM_CHANGESETS, last, self.answers.until));
        let read = std::iter::once(&self.answers).chain(&self.messages);
        let read = read
            .filter(|span| span.last > 0)
            .map(|span| (span.stream.as_str(), span.last, span.until));
        read.chain(changesets)
            .map(|(stream, last, newest_published_at)| StreamRange {
                stream: stream.to_owned(),
                // There is no message 0: all of nothing.
                first: last.min(1),
                last,
                newest_published_at,
            })
            .collect()
    }
}

/// The last message that was stored at this time or before; 0 when there is none.
async fn last_until(
    bus: &Bus,
    stream: &str,
    time: Timestamp,
    end: u64,
) -> Result<u64, StreamError> {
    let after = time.checked_add(SignedDuration::from_nanos(1));
    let Ok(after) = after else {
        return Ok(end);
    };
    let found = bus.find(stream, Place::Time(after)).await?;
    Ok(found.map_or(end, |(next, _)| next.saturating_sub(1)))
}

/// The answers, when the first was stored, and how many before it are gone.
async fn answers(
    bus: &Bus,
    from: Option<At>,
    to: Option<At>,
    filter: String,
) -> anyhow::Result<(Span, Timestamp, u64)> {
    let stream = STREAM_FETCHED;
    let state = bus.stream_state(stream).await?;
    let oldest = bus.find(stream, Place::Sequence(1)).await?;
    let Some((oldest, oldest_at)) = oldest else {
        bail!("{stream} holds no answers: there is nothing to replay");
    };
    let newest = state.last_sequence;
    let refused = |reason: String| anyhow::Error::from(Unusable(reason));
    let gone = || {
        refused(format!(
            "answers before message {oldest} of {stream}, stored {oldest_at}, are gone (streams.{stream}.\
             max_age and max_bytes say how long they are kept): begin with --from {oldest}, or without \
             --from"
        ))
    };
    let nothing = |what: &str| {
        refused(format!(
            "{what} there is no answer: {stream} goes from message {oldest}, stored {oldest_at}, to {newest}"
        ))
    };
    let first = match from {
        None => oldest,
        Some(At::Sequence(first)) if first < oldest => return Err(gone()),
        Some(At::Time(time)) if time < oldest_at && oldest > 1 => return Err(gone()),
        Some(At::Sequence(first)) if first > newest => {
            return Err(nothing(&format!("from {first} on")));
        }
        Some(At::Sequence(first)) => first,
        // The broker counts nanoseconds in 64 bits: a time after 2262 would come out as one long past.
        Some(At::Time(time)) if time.duration_since(Timestamp::now()) > CLOCKS => {
            return Err(nothing(&format!("from {time} on")));
        }
        Some(At::Time(time)) => match bus.find(stream, Place::Time(time)).await? {
            Some((first, _)) => first,
            None => return Err(nothing(&format!("from {time} on"))),
        },
    };
    let last = match to {
        None => newest,
        Some(At::Sequence(last)) if last > newest => {
            return Err(nothing(&format!("at {last}")));
        }
        Some(At::Sequence(last)) => last,
        Some(At::Time(time)) => last_until(bus, stream, time, newest).await?,
    };
    if last < first {
        return Err(nothing("in this range"));
    }
    let at = |found: Option<(u64, Timestamp)>| found.map_or_else(Timestamp::now, |(_, at)| at);
    let since = at(bus.find(stream, Place::Sequence(first)).await?);
    let until = at(bus.find(stream, Place::Sequence(last)).await?);
    let span = Span {
        stream: stream.to_owned(),
        filter,
        first,
        last,
        until,
    };
    let gone = if from.is_none() { oldest - 1 } else { 0 };
    Ok((span, since, gone))
}

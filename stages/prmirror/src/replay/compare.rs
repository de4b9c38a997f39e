//! Each accepted answer compared with the one before, as diff-integrity does it.

use std::path::Path;
use std::time::Instant;

use diff_integrity::{Accepted, is_superseded, second_look};
use prmirror_analytics::{Record, Sequenced};
use prmirror_proto::messages::ChangesetKind;
use prmirror_proto::subjects::STREAM_FETCHED;
use serde::Serialize;
use tokio::sync::mpsc;

use super::answers::Judged;
use super::land::{Record as Landable, Records};
use super::states::States;

/// What followed from the answers that were believed.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Compared {
    /// The first sight of a pull request.
    pub(crate) new: u64,
    /// Another content than before.
    pub(crate) changed: u64,
    /// The same content: it was confirmed.
    pub(crate) confirmed: u64,
    /// The pull request was gone.
    pub(crate) gone: u64,
    /// Older than what was known by then.
    pub(crate) superseded: u64,
    /// From a replica that lagged behind, and asked for again.
    pub(crate) stale: u64,
    /// Events of all changes.
    pub(crate) events: u64,
    /// Seconds that it took.
    pub(crate) comparing: f64,
}

/// Compares until there are no more answers, or landing has failed.
pub(crate) fn compare_all(
    mut judged: mpsc::Receiver<Vec<Judged>>,
    records: &Records,
    folder: &Path,
) -> anyhow::Result<Compared> {
    let mut states = States::new(folder)?;
    let mut compared = Compared::default();
    while let Some(batch) = judged.blocking_recv() {
        let begun = Instant::now();
        let mut landable = Vec::with_capacity(batch.len());
        for answer in batch {
            landable.extend(compare(&mut states, answer, &mut compared)?);
        }
        compared.comparing += begun.elapsed().as_secs_f64();
        if !records.send(landable) {
            // It says itself why.
            break;
        }
    }
    Ok(compared)
}

fn compare(
    states: &mut States,
    answer: Judged,
    compared: &mut Compared,
) -> anyhow::Result<Option<Landable>> {
    let Judged {
        sequence,
        published_at,
        key,
        valid,
        bytes,
    } = answer;
    let known = states.take(&key)?;
    // Not the id that it had: nothing is sent under it.
    let cause = format!("{STREAM_FETCHED}:{sequence}");
    let known = match known {
        Some(known) if is_superseded(&valid, &known) => {
            compared.superseded += 1;
            states.put(key, known, bytes)?;
            return Ok(None);
        }
        Some(known) if second_look(&valid, &known, &cause).is_some() => {
            compared.stale += 1;
            states.put(key, known, bytes)?;
            return Ok(None);
        }
        other => other,
    };
    let accepted = Accepted::next(known.as_ref(), &valid, &cause);
    let changeset = accepted.changeset();
    states.put(key, accepted, bytes)?;
    compared.events += changeset.events.len() as u64;
    match changeset.kind {
        ChangesetKind::New => compared.new += 1,
        ChangesetKind::Changed => compared.changed += 1,
        ChangesetKind::Volatile | ChangesetKind::Unchanged => compared.confirmed += 1,
        ChangesetKind::Gone => compared.gone += 1,
    }
    Ok(Some(Landable {
        bytes,
        record: Sequenced {
            stream: STREAM_FETCHED.to_owned(),
            sequence,
            message_id: cause,
            published_at,
            record: Record::Changeset(changeset),
        },
    }))
}

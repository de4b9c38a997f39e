//! What is known of each pull request, and how one more changeset changes it: newest wins, each part
//! by itself, so that any order of the same changesets ends in the same state.

use std::collections::{BTreeMap, BTreeSet};

use duckdb::Connection;
use prmirror_proto::messages::ChangesetKind;
use prmirror_proto::pull_request::Volatile;
use prmirror_proto::{Changeset, Snapshot};

use super::Key;
use crate::error::DatabaseError;
use crate::rows::{Kind, Rows, Shape, micros};

pub(crate) const SHAPE: Shape = Shape::new(
    "pull_request_observations",
    &[
        ("repository", Kind::Text),
        ("number", Kind::Number),
        ("version", Kind::Text),
        ("content_updated_at", Kind::Time),
        ("content_observed_at", Kind::Time),
        ("confirmed_version", Kind::Text),
        ("confirmed_at", Kind::Time),
        ("volatile_observed_at", Kind::Time),
        ("mergeable", Kind::Text),
        ("merge_state_status", Kind::Text),
        ("potential_merge_commit_oid", Kind::Text),
        ("gone_observed_at", Kind::Time),
        ("gone_at", Kind::Time),
        ("observed_at", Kind::Time),
        ("landed_at", Kind::Time),
        ("source", Kind::Text),
        ("lane", Kind::Text),
        ("noticed_at", Kind::Time),
        ("changed_at", Kind::Time),
        ("request", Kind::Text),
    ],
);

/// Times are in microseconds since the epoch, as in the tables: nothing finer may decide an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Content {
    updated_at: i64,
    observed_at: i64,
    version: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    source: String,
    lane: String,
    noticed_at: i64,
    changed_at: Option<i64>,
    request: String,
}

/// What is known of one pull request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    content: Option<Content>,
    origin: Option<Origin>,
    /// When, and which version.
    confirmed: Option<(i64, String)>,
    volatile: Option<(i64, Volatile)>,
    gone: Option<i64>,
}

/// What a changeset did to a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// The content is another one now.
    Content,
    /// The content is the same, and its rows are to be written anew: they may not be what had landed.
    Rewritten,
    /// Only times, or what does not count, moved.
    Observation,
    /// It is older than what is known.
    None,
}

impl State {
    /// Whether there is content: rows of it that another content replaces.
    pub(super) const fn has_content(&self) -> bool {
        self.content.is_some()
    }

    pub(super) fn fold(&mut self, changeset: &Changeset) -> Effect {
        let observed_at = micros(changeset.observed_at);
        match (changeset.kind, changeset.snapshot.as_deref()) {
            (ChangesetKind::Gone, _) => newer(&mut self.gone, observed_at),
            // Whatever it is said to be: content that is not here yet is news here.
            (
                ChangesetKind::New
                | ChangesetKind::Changed
                | ChangesetKind::Volatile
                | ChangesetKind::Unchanged,
                Some(snapshot),
            ) => self.fold_snapshot(changeset, observed_at, snapshot),
            // Without a snapshot, all that a changeset can say is that a version is still the one.
            (
                ChangesetKind::Unchanged
                | ChangesetKind::New
                | ChangesetKind::Changed
                | ChangesetKind::Volatile,
                None,
            ) => newer(
                &mut self.confirmed,
                (observed_at, changeset.version.clone()),
            ),
        }
    }

    fn fold_snapshot(
        &mut self,
        changeset: &Changeset,
        observed_at: i64,
        snapshot: &Snapshot,
    ) -> Effect {
        let mut effect = Effect::None;
        if self
            .volatile
            .as_ref()
            .is_none_or(|(at, _)| *at < observed_at)
        {
            self.volatile = Some((observed_at, snapshot.volatile.clone()));
            effect = Effect::Observation;
        }
        let content = Content {
            updated_at: micros(snapshot.pull_request.updated_at),
            observed_at,
            version: changeset.version.clone(),
        };
        let repair = changeset.provenance.is_repair();
        let is_newer = self.content.as_ref().is_none_or(|known| {
            // What is repaired may be wrong in when GitHub changed it, too.
            *known < content || (repair && known.observed_at < content.observed_at)
        });
        if is_newer {
            let same = self
                .content
                .as_ref()
                .is_some_and(|known| known.version == content.version);
            effect = match (same, repair) {
                (true, false) => Effect::Observation,
                (true, true) => Effect::Rewritten,
                (false, _) => Effect::Content,
            };
            self.content = Some(content);
            let provenance = &changeset.provenance;
            self.origin = Some(Origin {
                source: provenance.source.as_str().to_owned(),
                lane: provenance.lane.to_string(),
                noticed_at: micros(provenance.noticed_at),
                changed_at: provenance.changed_at.map(micros),
                request: provenance.request.clone(),
            });
        }
        effect
    }

    /// When GitHub was last asked and the answer was as the content says. A confirmation counts only
    /// for the content that is here: one of another version tells that this one is outdated.
    fn content_seen_at(&self) -> Option<i64> {
        let content = self.content.as_ref()?;
        match &self.confirmed {
            Some((at, version)) if *version == content.version => {
                Some(content.observed_at.max(*at))
            }
            Some(_) | None => Some(content.observed_at),
        }
    }

    /// When it was found to be gone, unless it was seen later.
    fn gone_at(&self) -> Option<i64> {
        let seen_at = self
            .content_seen_at()
            .max(self.confirmed.as_ref().map(|(at, _)| *at));
        self.gone.filter(|gone| Some(*gone) > seen_at)
    }

    fn write(&self, key: &Key, landed_at: i64, rows: &mut Rows) {
        let content = self.content.as_ref();
        let confirmed = self.confirmed.as_ref();
        let volatile = self.volatile.as_ref();
        let origin = self.origin.as_ref();
        let values = volatile.map(|(_, values)| values);
        rows.text(&key.repository);
        rows.signed(Some(key.number));
        rows.maybe_text(content.map(|content| content.version.as_str()));
        rows.micros(content.map(|content| content.updated_at));
        rows.micros(content.map(|content| content.observed_at));
        rows.maybe_text(confirmed.map(|(_, version)| version.as_str()));
        rows.micros(confirmed.map(|(at, _)| *at));
        rows.micros(volatile.map(|(at, _)| *at));
        rows.maybe_text(values.and_then(|values| values.mergeable.as_deref()));
        rows.maybe_text(values.and_then(|values| values.merge_state_status.as_deref()));
        rows.maybe_text(values.and_then(|values| values.potential_merge_commit_oid.as_deref()));
        rows.micros(self.gone);
        rows.micros(self.gone_at());
        rows.micros(self.gone_at().or(self.content_seen_at()));
        rows.micros(Some(landed_at));
        rows.maybe_text(origin.map(|origin| origin.source.as_str()));
        rows.maybe_text(origin.map(|origin| origin.lane.as_str()));
        rows.micros(origin.map(|origin| origin.noticed_at));
        rows.micros(origin.and_then(|origin| origin.changed_at));
        rows.maybe_text(origin.map(|origin| origin.request.as_str()));
    }
}

/// Takes a value that is newer than the one known.
fn newer<T: PartialOrd>(known: &mut Option<T>, value: T) -> Effect {
    if known.as_ref().is_some_and(|known| *known >= value) {
        return Effect::None;
    }
    *known = Some(value);
    Effect::Observation
}

/// Reads the states of the pull requests in `landing_keys`.
pub(super) fn read(connection: &Connection) -> Result<BTreeMap<Key, State>, DatabaseError> {
    let mut statement = connection.prepare(
        "SELECT repository, number,
                version, epoch_us(content_updated_at), epoch_us(content_observed_at),
                confirmed_version, epoch_us(confirmed_at),
                epoch_us(volatile_observed_at),
                mergeable, merge_state_status, potential_merge_commit_oid,
                epoch_us(gone_observed_at),
                source, lane, epoch_us(noticed_at), epoch_us(changed_at), request
         FROM pull_request_observations JOIN landing_keys USING (repository, number)",
    )?;
    let mut rows = statement.query([])?;
    let mut states = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let key = Key {
            repository: row.get(0)?,
            number: row.get(1)?,
        };
        let version: Option<String> = row.get(2)?;
        let content = match version {
            Some(version) => Some(Content {
                updated_at: row.get(3)?,
                observed_at: row.get(4)?,
                version,
            }),
            None => None,
        };
        let confirmed_version: Option<String> = row.get(5)?;
        let confirmed = match confirmed_version {
            Some(version) => Some((row.get(6)?, version)),
            None => None,
        };
        let volatile_at: Option<i64> = row.get(7)?;
        let volatile = match volatile_at {
            Some(at) => Some((
                at,
                Volatile {
                    mergeable: row.get(8)?,
                    merge_state_status: row.get(9)?,
                    potential_merge_commit_oid: row.get(10)?,
                },
            )),
            None => None,
        };
        let source: Option<String> = row.get(12)?;
        let origin = match source {
            Some(source) => Some(Origin {
                source,
                lane: row.get(13)?,
                noticed_at: row.get(14)?,
                changed_at: row.get(15)?,
                request: row.get(16)?,
            }),
            None => None,
        };
        let state = State {
            content,
            origin,
            confirmed,
            volatile,
            gone: row.get(11)?,
        };
        states.insert(key, state);
    }
    Ok(states)
}

/// Writes the states of the `touched` pull requests; those in `landing_keys`, if any are `replaced`,
/// have one already.
pub(super) fn write(
    connection: &Connection,
    states: &BTreeMap<Key, State>,
    touched: &BTreeSet<Key>,
    replaced: bool,
    landed_at: i64,
) -> Result<(), DatabaseError> {
    if replaced {
        super::delete_keyed(connection, SHAPE.table)?;
    }
    let mut rows = Rows::new(&SHAPE);
    for key in touched {
        if let Some(state) = states.get(key) {
            state.write(key, landed_at, &mut rows);
        }
    }
    rows.append(connection)
}

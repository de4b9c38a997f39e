//! What only grows: versions, events, what could not be processed, and what requests cost.
//!
//! A message that was sent twice under two sequences says nothing new: each log has an identity, and
//! what is in is not added again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use duckdb::Connection;
use prmirror_proto::key_data::KeyData;
use prmirror_proto::messages::{ChangedBy, ChangesetKind};
use prmirror_proto::subjects::STREAM_FETCHED;
use prmirror_proto::{ApiCost, Changeset, Quarantined, ToldBy};

use super::Key;
use crate::batch::Sequenced;
use crate::error::DatabaseError;
use crate::rows::{Kind, Rows, Shape, micros};

pub(crate) const VERSIONS: Shape = Shape::new(
    "version_log",
    &[
        ("repository", Kind::Text),
        ("number", Kind::Number),
        ("kind", Kind::Text),
        ("version", Kind::Text),
        ("observed_at", Kind::Time),
        ("landed_at", Kind::Time),
        ("updated_at", Kind::Time),
        ("state", Kind::Text),
        ("is_draft", Kind::Flag),
        ("title", Kind::Text),
        ("head_ref_oid", Kind::Text),
        ("base_ref_name", Kind::Text),
        ("review_decision", Kind::Text),
        ("milestone_title", Kind::Text),
        ("label_names", Kind::Texts),
        ("assignees", Kind::Texts),
        ("checks_state", Kind::Text),
        ("check_run_counts", Kind::Text),
        ("is_complete", Kind::Flag),
        ("events", Kind::Number),
        ("source", Kind::Text),
        ("lane", Kind::Text),
        ("noticed_at", Kind::Time),
        ("changed_at", Kind::Time),
        ("request", Kind::Text),
        ("changed_by", Kind::Text),
    ],
);

pub(crate) const EVENTS: Shape = Shape::new(
    "events",
    &[
        ("id", Kind::Text),
        ("repository", Kind::Text),
        ("number", Kind::Number),
        ("kind", Kind::Text),
        ("occurred_at", Kind::Time),
        ("observed_at", Kind::Time),
        ("landed_at", Kind::Time),
        ("actor", Kind::Text),
        ("version", Kind::Text),
        ("data", Kind::Text),
        ("told_by", Kind::Text),
    ],
);

pub(crate) const QUARANTINE: Shape = Shape::new(
    "quarantine",
    &[
        ("message_id", Kind::Text),
        ("sequence", Kind::Number),
        ("stage", Kind::Text),
        ("code", Kind::Text),
        ("reason", Kind::Text),
        ("repository", Kind::Text),
        ("number", Kind::Number),
        ("original_subject", Kind::Text),
        ("original_headers", Kind::Text),
        ("body_bytes", Kind::Number),
        ("deliveries", Kind::Number),
        ("quarantined_at", Kind::Time),
    ],
);

pub(crate) const COSTS: Shape = Shape::new(
    "api_cost",
    &[
        ("id", Kind::Text),
        ("stage", Kind::Text),
        ("repository", Kind::Text),
        ("lane", Kind::Text),
        ("operation", Kind::Text),
        ("token", Kind::Text),
        ("sent_at", Kind::Time),
        ("elapsed_ms", Kind::Number),
        ("points", Kind::Number),
        ("remaining", Kind::Number),
        ("points_limit", Kind::Number),
        ("reset_at", Kind::Time),
        ("bytes", Kind::Number),
        ("pull_requests", Kind::Number),
        ("outcome", Kind::Text),
        ("wasted", Kind::Number),
        ("shared_by", Kind::Texts),
    ],
);

pub(crate) const LANDING_IDS: Shape = Shape::temporary(
    "landing_ids",
    &[("id", Kind::Text), ("seen_at", Kind::Time)],
);

/// What a log has already.
#[derive(Default)]
pub(super) struct Known(HashMap<String, Vec<i64>>);

impl Known {
    /// Whether it has this identity with this time.
    pub(super) fn has(&self, id: &str, at: i64) -> bool {
        self.0.get(id).is_some_and(|times| times.contains(&at))
    }
}

/// Those among these identities, each with its time, that a log has already. `seen_at` is the log's column for
/// the time: logs are written about in its order, so most of a log need not be read.
pub(super) fn known(
    connection: &Connection,
    table: &str,
    identity: &str,
    seen_at: &str,
    ids: impl Iterator<Item = (String, i64)>,
) -> Result<Known, DatabaseError> {
    let mut rows = Rows::new(&LANDING_IDS);
    for (id, at) in ids {
        rows.text(&id);
        rows.micros(Some(at));
    }
    if rows.len() == 0 {
        return Ok(Known::default());
    }
    rows.stage(connection)?;
    let mut statement = connection.prepare(&format!(
        "SELECT DISTINCT landing_ids.id, epoch_us(landing_ids.seen_at) FROM landing_ids
         JOIN {table} AS log ON log.{seen_at} = landing_ids.seen_at AND {identity} = landing_ids.id"
    ))?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let mut known = Known::default();
    for one in found {
        let (id, at): (String, i64) = one?;
        known.0.entry(id).or_default().push(at);
    }
    Ok(known)
}

/// A version's identity, as the SQL below has it.
fn version_id(key: &Key, changeset: &Changeset) -> String {
    format!("{}#{}:{}", key.repository, key.number, changeset.version)
}

/// Adds the versions that changesets bring.
pub(super) fn land_versions(
    connection: &Connection,
    changesets: &[(Key, &Changeset)],
    landed_at: i64,
) -> Result<(), DatabaseError> {
    let versions: Vec<_> = changesets
        .iter()
        .filter(|(_, changeset)| match changeset.kind {
            ChangesetKind::New | ChangesetKind::Changed => changeset.snapshot.is_some(),
            ChangesetKind::Gone => true,
            ChangesetKind::Volatile | ChangesetKind::Unchanged => false,
        })
        .map(|(key, changeset)| {
            let at = micros(changeset.observed_at);
            (version_id(key, changeset), at, key, *changeset)
        })
        .collect();
    let known = known(
        connection,
        "version_log",
        "log.repository || '#' || log.number || ':' || log.version",
        "observed_at",
        versions.iter().map(|(id, at, _, _)| (id.clone(), *at)),
    )?;
    let mut in_batch = HashSet::new();
    let mut rows = Rows::new(&VERSIONS);
    for (id, at, key, changeset) in versions {
        if !known.has(&id, at) && in_batch.insert((id, at)) {
            push_version(&mut rows, key, changeset, landed_at);
        }
    }
    rows.append(connection)
}

/// Frees the events of repaired pull requests of repetitions.
pub(super) fn mend_events(
    connection: &Connection,
    repaired: &BTreeSet<&Key>,
) -> Result<(), DatabaseError> {
    if !super::set_keys(connection, repaired.iter().copied())? {
        return Ok(());
    }
    Ok(connection.execute_batch(
        "CREATE OR REPLACE TEMPORARY TABLE mended_events AS
         WITH own AS (SELECT * FROM events SEMI JOIN landing_keys USING (repository, number)),
         repeated AS (SELECT id FROM own GROUP BY id HAVING count(*) > 1)
         SELECT DISTINCT ON (id) own.* FROM own SEMI JOIN repeated USING (id) ORDER BY id, landed_at;
         DELETE FROM events USING mended_events AS mended
         WHERE events.repository = mended.repository AND events.number = mended.number
           AND events.id = mended.id;
         INSERT INTO events FROM mended_events;
         DROP TABLE mended_events;",
    )?)
}

/// Frees the histories of repaired pull requests of repetitions, and lets them end with what has landed.
pub(super) fn mend_versions(
    connection: &Connection,
    repaired: &BTreeSet<&Key>,
    contents: &BTreeMap<&Key, &Changeset>,
    landed_at: i64,
) -> Result<(), DatabaseError> {
    if !super::set_keys(connection, repaired.iter().copied())? {
        return Ok(());
    }
    connection.execute_batch(
        "CREATE OR REPLACE TEMPORARY TABLE mended_versions AS
         WITH own AS (SELECT * FROM version_log SEMI JOIN landing_keys USING (repository, number)),
         repeated AS (
             SELECT DISTINCT repository, number FROM own
             GROUP BY repository, number, kind, version, observed_at HAVING count(*) > 1
         )
         SELECT DISTINCT ON (repository, number, kind, version, observed_at) own.*
         FROM own SEMI JOIN repeated USING (repository, number)
         ORDER BY repository, number, kind, version, observed_at, landed_at;
         DELETE FROM version_log USING (SELECT DISTINCT repository, number FROM mended_versions) AS keys
         WHERE version_log.repository = keys.repository AND version_log.number = keys.number;
         INSERT INTO version_log FROM mended_versions;
         DROP TABLE mended_versions;",
    )?;
    let mut statement = connection.prepare(
        "SELECT repository, number, max_by(version, (updated_at, observed_at, version))
         FROM version_log SEMI JOIN landing_keys USING (repository, number)
         WHERE kind <> 'gone' GROUP BY repository, number",
    )?;
    let found = statement.query_map([], |row| {
        let key = Key {
            repository: row.get(0)?,
            number: row.get(1)?,
        };
        Ok((key, row.get::<_, String>(2)?))
    })?;
    let newest: HashMap<Key, String> = found.collect::<Result<_, _>>()?;
    let mut rows = Rows::new(&VERSIONS);
    for key in repaired {
        let Some(changeset) = contents.get(key) else {
            continue;
        };
        if newest.get(*key) != Some(&changeset.version) {
            push_version(&mut rows, key, changeset, landed_at);
        }
    }
    rows.append(connection)
}

fn push_version(rows: &mut Rows, key: &Key, changeset: &Changeset, landed_at: i64) {
    let content = changeset
        .snapshot
        .as_ref()
        .map(|snapshot| &snapshot.pull_request);
    let seen = content.map(KeyData::of);
    let checks = seen.as_ref().and_then(|seen| seen.checks.as_ref());
    key.push(rows);
    rows.text(match changeset.kind {
        ChangesetKind::Gone => "gone",
        ChangesetKind::New => "new",
        ChangesetKind::Changed | ChangesetKind::Volatile | ChangesetKind::Unchanged => "changed",
    });
    rows.text(&changeset.version);
    rows.time(changeset.observed_at);
    rows.micros(Some(landed_at));
    rows.maybe_time(content.map(|content| content.updated_at));
    rows.maybe_text(content.map(|content| content.state.as_str()));
    rows.maybe_flag(content.map(|content| content.is_draft));
    rows.maybe_text(content.map(|content| content.title.as_str()));
    rows.maybe_text(content.map(|content| content.head_ref_oid.as_str()));
    rows.maybe_text(content.map(|content| content.base_ref_name.as_str()));
    rows.maybe_text(content.and_then(|content| content.review_decision.as_deref()));
    let milestone = content.and_then(|content| content.milestone.as_ref());
    rows.maybe_text(milestone.map(|milestone| milestone.title.as_str()));
    rows.maybe_texts(
        seen.as_ref()
            .map(|seen| seen.labels.iter().map(String::as_str)),
    );
    rows.maybe_texts(content.map(|content| content.assignees.nodes.iter().map(String::as_str)));
    rows.maybe_text(checks.map(|checks| checks.state.as_str()));
    rows.maybe_text(checks.map(|checks| checks.check_run_counts.as_str()));
    rows.maybe_flag(content.map(prmirror_proto::PullRequest::is_complete));
    rows.number(changeset.events.len() as u64);
    let provenance = &changeset.provenance;
    rows.text(provenance.source.as_str());
    rows.text(&provenance.lane.to_string());
    rows.time(provenance.noticed_at);
    rows.maybe_time(changeset.changed_at.or(provenance.changed_at));
    rows.text(&provenance.request);
    // Before changesets told, all there was is what the source had told.
    let changed_by = changeset
        .changed_by
        .filter(|_| changeset.changed_at.is_some());
    let told = provenance.changed_at.map(|_| ChangedBy::Source);
    rows.maybe_text(changed_by.or(told).map(ChangedBy::as_str));
}

/// Adds the events that changesets bring; tells how many were new.
pub(super) fn land_events(
    connection: &Connection,
    changesets: &[(Key, &Changeset)],
    landed_at: i64,
) -> Result<usize, DatabaseError> {
    let events = || {
        changesets.iter().flat_map(|(key, changeset)| {
            changeset
                .events
                .iter()
                .map(move |event| (key, changeset, event))
        })
    };
    // Of one identity, whatever was noticed first stays; the time of occurrence is part of it.
    let known = known(
        connection,
        "events",
        "log.id",
        "occurred_at",
        events().map(|(_, _, event)| (event.id.clone(), micros(event.occurred_at))),
    )?;
    let mut in_batch = HashSet::new();
    let mut rows = Rows::new(&EVENTS);
    for (key, changeset, event) in events() {
        let at = micros(event.occurred_at);
        if known.has(&event.id, at) || !in_batch.insert(event.id.as_str()) {
            continue;
        }
        rows.text(&event.id);
        key.push(&mut rows);
        rows.text(event.data.kind());
        rows.time(event.occurred_at);
        rows.time(event.observed_at);
        rows.micros(Some(landed_at));
        rows.maybe_text(event.actor.as_deref());
        rows.text(&changeset.version);
        rows.text(&serde_json::to_string(&event.data)?);
        rows.maybe_text(event.told_by.map(ToldBy::as_str));
    }
    let added = rows.len();
    rows.append(connection)?;
    Ok(added)
}

/// Adds what could not be processed.
pub(super) fn land_quarantined(
    connection: &Connection,
    messages: &[(&Sequenced, &Quarantined)],
) -> Result<(), DatabaseError> {
    let known = known(
        connection,
        "quarantine",
        "log.message_id",
        "quarantined_at",
        messages
            .iter()
            .map(|(message, what)| (message.message_id.clone(), micros(what.quarantined_at))),
    )?;
    let mut in_batch = HashSet::new();
    let mut rows = Rows::new(&QUARANTINE);
    for (message, what) in messages {
        let at = micros(what.quarantined_at);
        if known.has(&message.message_id, at) || !in_batch.insert((message.message_id.as_str(), at))
        {
            continue;
        }
        rows.text(&message.message_id);
        // What a replay refused is in no quarantine, but in the stream of answers.
        rows.number(match message.stream.as_str() {
            STREAM_FETCHED => 0,
            _ => message.sequence,
        });
        rows.text(&what.stage);
        rows.text(&what.code);
        rows.text(&what.reason);
        let repository = what.repository.as_ref().map(ToString::to_string);
        rows.maybe_text(repository.as_deref());
        rows.maybe_number(what.number);
        rows.text(&what.original_subject);
        rows.text(&serde_json::to_string(&what.original_headers)?);
        // Base64: four characters for three bytes.
        let padding = what
            .original_body
            .bytes()
            .rev()
            .take_while(|b| *b == b'=')
            .count();
        rows.number((what.original_body.len() / 4 * 3).saturating_sub(padding) as u64);
        rows.signed(Some(what.deliveries));
        rows.time(what.quarantined_at);
    }
    rows.append(connection)
}

/// Adds what requests cost.
pub(super) fn land_costs(connection: &Connection, costs: &[&ApiCost]) -> Result<(), DatabaseError> {
    let known = known(
        connection,
        "api_cost",
        "log.id",
        "sent_at",
        costs
            .iter()
            .map(|cost| (cost.id.clone(), micros(cost.sent_at))),
    )?;
    let mut in_batch = HashSet::new();
    let mut rows = Rows::new(&COSTS);
    for cost in costs {
        if known.has(&cost.id, micros(cost.sent_at)) || !in_batch.insert(cost.id.as_str()) {
            continue;
        }
        rows.text(&cost.id);
        rows.text(&cost.stage);
        rows.text(&cost.repository.to_string());
        let lane = cost.lane.map(|lane| lane.to_string());
        rows.maybe_text(lane.as_deref());
        rows.text(&cost.operation);
        rows.text(&cost.token);
        rows.time(cost.sent_at);
        rows.number(cost.elapsed_ms);
        rows.maybe_number(cost.points);
        rows.maybe_number(cost.remaining);
        rows.maybe_number(cost.limit);
        rows.maybe_time(cost.reset_at);
        rows.number(cost.bytes);
        rows.number(cost.pull_requests);
        rows.text(&cost.outcome);
        rows.maybe_number(cost.wasted);
        let shared_by: Vec<String> = cost.shared_by.iter().map(ToString::to_string).collect();
        rows.maybe_texts(Some(shared_by.iter().map(String::as_str)));
    }
    rows.append(connection)
}

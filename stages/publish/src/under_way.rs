//! Pull requests that something is on its way for: asking for them again would fetch them twice.

use std::collections::BTreeSet;

use prmirror_kit::{Bus, StreamError};
use prmirror_proto::subjects::{
    STREAM_CHANGES, STREAM_CHANGESETS, STREAM_FETCHED, STREAM_FINDINGS, STREAM_VALID, Subject,
};
use prmirror_proto::{Finding, RepositoryName};

/// The durable consumer that makes change requests of findings.
const FINDINGS_CONSUMER: &str = "detect-changes";

/// What lies between a fetch and the tables: streams, and the durable consumers that take from them.
const DOWNSTREAM: [(&str, &str); 3] = [
    (STREAM_FETCHED, "validate"),
    (STREAM_VALID, "diff-integrity"),
    (STREAM_CHANGESETS, crate::CHANGESETS_CONSUMER),
];

/// Pull requests with a finding that nobody has taken up, a change request that no fetch has answered, or
/// an answer that has not landed.
///
/// # Errors
/// When the broker does not tell.
pub async fn under_way(bus: &Bus) -> Result<BTreeSet<(RepositoryName, u64)>, StreamError> {
    // In the order of the flow: what moves on meanwhile is met again further down.
    let findings = bus
        .unsettled_messages(STREAM_FINDINGS, FINDINGS_CONSUMER)
        .await?;
    let mut subjects = bus.queued_subjects(STREAM_CHANGES, ">").await?;
    for (stream, durable) in DOWNSTREAM {
        subjects.extend(bus.unsettled_subjects(stream, durable).await?);
    }
    let mut found: BTreeSet<_> = subjects.iter().filter_map(|s| pull_request(s)).collect();
    // The subject of a finding tells no number. What cannot be read asks for nothing, either.
    let findings = findings
        .iter()
        .filter_map(|finding| finding.decode::<Finding>().ok());
    found.extend(findings.map(|finding| (finding.repository, finding.number)));
    Ok(found)
}

/// The pull request that a subject is about.
fn pull_request(subject: &str) -> Option<(RepositoryName, u64)> {
    let subject: Subject = subject.parse().ok()?;
    Some((subject.repository()?.clone(), subject.number()?))
}

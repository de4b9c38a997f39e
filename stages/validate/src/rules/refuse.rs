//! What an answer must satisfy to land at all.

use prmirror_proto::pull_request::PullRequest;

use super::Rule;

/// The first rule that this snapshot breaks so badly that it must not land, with the reason.
#[must_use]
pub fn check(pr: &PullRequest, number: u64) -> Option<(Rule, String)> {
    identity(pr, number)
        .map(|reason| (Rule::Identity, reason))
        .or_else(|| required(pr).map(|reason| (Rule::Required, reason)))
        .or_else(|| state(pr).map(|reason| (Rule::State, reason)))
        .or_else(|| times(pr).map(|reason| (Rule::Times, reason)))
}

/// Why this is not the node that was asked for, when one was.
#[must_use]
pub fn other_node(pr: &PullRequest, asked: Option<&str>) -> Option<String> {
    let asked = asked.filter(|asked| *asked != pr.id)?;
    Some(format!("asked for {asked}, got {}", pr.id))
}

fn identity(pr: &PullRequest, number: u64) -> Option<String> {
    if pr.number != number {
        return Some(format!("asked for #{number}, got #{}", pr.number));
    }
    let named = pr.url.rsplit_once("/pull/");
    let elsewhere = named.is_some_and(|(_, tail)| tail != number.to_string());
    elsewhere.then(|| format!("asked for #{number}, got {}", pr.url))
}

fn required(pr: &PullRequest) -> Option<String> {
    let fields = [
        ("id", &pr.id),
        ("repository.id", &pr.repository_id),
        ("headRefOid", &pr.head_ref_oid),
        ("state", &pr.state),
        ("url", &pr.url),
    ];
    let empty = fields.into_iter().find(|(_, value)| value.is_empty());
    empty.map(|(field, _)| format!("{field} is empty"))
}

fn state(pr: &PullRequest) -> Option<String> {
    let contradiction = match (pr.state.as_str(), pr.closed_at, pr.merged_at) {
        ("MERGED", _, None) => "MERGED without mergedAt",
        ("MERGED" | "CLOSED", None, _) => "not open, without closedAt",
        ("CLOSED", _, Some(_)) => "CLOSED with mergedAt",
        ("OPEN", Some(_), _) => "OPEN with closedAt",
        ("OPEN", _, Some(_)) => "OPEN with mergedAt",
        _ => return None,
    };
    Some(contradiction.to_owned())
}

fn times(pr: &PullRequest) -> Option<String> {
    (pr.updated_at < pr.created_at).then(|| {
        format!(
            "updatedAt {} is before createdAt {}",
            pr.updated_at, pr.created_at
        )
    })
}

//! What a webhook says: which pull requests may have changed, or how they are found.

use jiff::Timestamp;
use prmirror_proto::RepositoryName;
use serde_json::Value;
use serde_json::value::RawValue;

use super::known;
use super::payload::{
    Changes, End, Ids, Issue, MergeGroup, Named, OnCommit, Payload, PullRequest, Times, part,
};

/// Pull requests that may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// This one.
    PullRequest {
        /// Its number.
        number: u64,
        /// Its node id, when the payload has one of today's.
        id: Option<String>,
    },
    /// Those whose head is this commit.
    Head {
        /// The commit.
        oid: String,
        /// What is done when none is known.
        unknown: Unknown,
    },
    /// Open ones that go to this branch.
    Base(String),
    /// Those that come from this branch.
    HeadBranch(String),
    /// Those that carry a label of one of these names.
    Label(Vec<String>),
    /// Those that belong to a milestone of one of these titles.
    Milestone(Vec<String>),
}

/// What is done when no pull request is known that has a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unknown {
    /// GitHub is asked; if it knows of none, one may yet come.
    Ask,
    /// One may yet come.
    Wait,
    /// There is none.
    Drop,
}

/// A commit became the head of pull requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Head {
    /// Of this one.
    Of(u64, String),
    /// Of those that had another one as their head.
    Moved {
        /// Their old head.
        from: String,
        /// Their new head.
        to: String,
    },
}

/// What a delivery says about pull requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signs {
    /// In which repository, as the payload spells it.
    pub(crate) repository: RepositoryName,
    /// What the payload knows that repository by.
    pub(crate) ids: Ids,
    /// Which may have changed.
    pub(crate) signs: Vec<Sign>,
    /// What is learnt about heads.
    pub(crate) heads: Vec<Head>,
    /// To be fetched without waiting for more: CI that has come to its end is missed most easily, and
    /// whether a pull request is open matters most.
    pub(crate) urgent: bool,
    /// When it happened on GitHub, if the payload tells.
    pub(crate) changed_at: Option<Timestamp>,
}

/// What a delivery is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It is about pull requests.
    Signs(Signs),
    /// It is not; why not is one of a few fixed words.
    Nothing(&'static str),
    /// Somebody should know: the repositories that it is about, what one is known by, and what happened.
    Notice(Vec<RepositoryName>, Ids, String),
    /// The same of all repositories of an owner.
    OwnerNotice(String, String),
}

/// A payload that is not what its event promises.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    /// It is no JSON.
    #[error("the payload is no JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is some other JSON.
    #[error("the payload is no JSON object")]
    NoObject,
    /// Something is not there.
    #[error("the payload of {event} has no {what}")]
    Missing {
        /// The event.
        event: String,
        /// What is not there.
        what: &'static str,
    },
}

/// Nothing in it changes a pull request.
const NOT_ABOUT: &str = "not-about-pull-requests";
/// The event is none that was known when this was written.
const UNKNOWN_EVENT: &str = "unknown-event";
/// It names no repository.
const NO_REPOSITORY: &str = "no-repository";

/// What a delivery says.
pub(crate) fn read(event: &str, text: &str) -> Result<Reading, Unreadable> {
    // A list would be read as the fields in their order.
    if !text.trim_start().starts_with('{') {
        return Err(Unreadable::NoObject);
    }
    let payload: Payload<'_> = serde_json::from_str(text)?;
    let action = payload.action();
    match event {
        "installation" | "installation_repositories" => {
            return Ok(installation(event, &action, &payload));
        }
        "workflow_dispatch" => return Ok(Reading::Nothing(NOT_ABOUT)),
        _ if known::OTHERS.contains(&event) => return Ok(Reading::Nothing(NOT_ABOUT)),
        _ if !known::is_read(event) => return Ok(Reading::Nothing(UNKNOWN_EVENT)),
        _ => {}
    }
    let Some(in_payload) = payload.repository() else {
        return Ok(Reading::Nothing(NO_REPOSITORY));
    };
    let name = in_payload
        .full_name
        .as_deref()
        .and_then(|name| name.parse().ok());
    let Some(repository) = name else {
        return Ok(Reading::Nothing(NO_REPOSITORY));
    };
    let reader = Reader {
        event,
        action: &action,
        payload: &payload,
        repository: &in_payload,
    };
    let mut said = Said::default();
    match event {
        "repository" | "public" | "meta" => return Ok(reader.notice(repository)),
        "pull_request" => reader.pull_request(&mut said)?,
        "pull_request_review" | "pull_request_review_comment" | "pull_request_review_thread" => {
            reader.pull_request(&mut said)?;
            let times: [Option<Times>; 2] = [part(payload.review), part(payload.comment)];
            let last = times.iter().flatten().filter_map(Times::last).max();
            said.changed_at = said.changed_at.max(last);
        }
        "issue_comment" => reader.issue_comment(&mut said)?,
        "check_run" => reader.on_commit(&mut said, payload.check_run)?,
        "check_suite" => reader.on_commit(&mut said, payload.check_suite)?,
        "workflow_run" => reader.on_commit(&mut said, payload.workflow_run)?,
        "workflow_job" => reader.on_commit(&mut said, payload.workflow_job)?,
        "deployment" | "deployment_status" => reader.deployment(&mut said)?,
        "status" => reader.status(&mut said)?,
        "push" => reader.push(&mut said)?,
        "create" | "delete" => reader.branch(&mut said)?,
        "label" => reader.label(&mut said)?,
        "milestone" => reader.milestone(&mut said)?,
        "merge_group" => reader.merge_group(&mut said)?,
        _ => {}
    }
    if said.signs.is_empty() {
        return Ok(Reading::Nothing(NOT_ABOUT));
    }
    Ok(Reading::Signs(Signs {
        repository,
        ids: in_payload.ids(),
        signs: said.signs,
        heads: said.heads,
        urgent: said.urgent,
        changed_at: said.changed_at,
    }))
}

#[derive(Default)]
struct Said {
    signs: Vec<Sign>,
    heads: Vec<Head>,
    urgent: bool,
    changed_at: Option<Timestamp>,
}

struct Reader<'a> {
    event: &'a str,
    action: &'a str,
    payload: &'a Payload<'a>,
    repository: &'a super::payload::Repository,
}

impl Reader<'_> {
    fn missing(&self, what: &'static str) -> Unreadable {
        Unreadable::Missing {
            event: self.event.to_owned(),
            what,
        }
    }

    fn pull_request(&self, said: &mut Said) -> Result<(), Unreadable> {
        let found: PullRequest =
            part(self.payload.pull_request).ok_or_else(|| self.missing("pull_request"))?;
        let number = found
            .number
            .ok_or_else(|| self.missing("pull_request.number"))?;
        let head = found
            .head
            .and_then(|head| head.sha)
            .filter(|sha| is_oid(sha));
        said.heads.extend(head.map(|oid| Head::Of(number, oid)));
        said.changed_at = found.updated_at;
        said.urgent = self.event == "pull_request" && matches!(self.action, "closed" | "reopened");
        said.signs.push(Sign::PullRequest {
            number,
            id: found.node_id.filter(|id| id.starts_with("PR_")),
        });
        Ok(())
    }

    fn issue_comment(&self, said: &mut Said) -> Result<(), Unreadable> {
        let issue: Issue = part(self.payload.issue).ok_or_else(|| self.missing("issue"))?;
        if issue.pull_request.is_none() {
            return Ok(());
        }
        let number = issue.number.ok_or_else(|| self.missing("issue.number"))?;
        let comment: Option<Times> = part(self.payload.comment);
        let commented = comment.and_then(|comment| comment.last());
        said.changed_at = issue.updated_at.max(commented);
        // The issue's node id is another one.
        said.signs.push(Sign::PullRequest { number, id: None });
        Ok(())
    }

    /// Checks, workflow runs and jobs.
    fn on_commit(&self, said: &mut Said, raw: Option<&RawValue>) -> Result<(), Unreadable> {
        let found: OnCommit = part(raw).ok_or_else(|| self.missing("object of its name"))?;
        let oid = found.head_sha.filter(|sha| is_oid(sha));
        let oid = oid.ok_or_else(|| self.missing("head_sha"))?;
        said.changed_at = part::<Times>(raw).and_then(|times| times.last());
        said.urgent =
            self.action == "completed" && matches!(self.event, "check_suite" | "workflow_run");
        let suite = found.check_suite.unwrap_or_default();
        let named = found
            .pull_requests
            .or(suite.pull_requests)
            .unwrap_or_default();
        let numbers = named
            .iter()
            .filter(|pr| self.is_ours(pr))
            .filter_map(|pr| pr.number);
        said.signs
            .extend(numbers.map(|number| Sign::PullRequest { number, id: None }));
        let branch = found.head_branch.or(suite.head_branch);
        let to_default = branch.is_some() && branch == self.repository.default_branch;
        let from = found
            .head_repository
            .and_then(|repository| repository.full_name);
        let from_here = from.is_some() && from == self.repository.full_name;
        let unknown = if !said.signs.is_empty() || (to_default && from_here) {
            Unknown::Drop
        } else if to_default {
            // Of a fork, perhaps: its pull requests often come from a branch of that name.
            Unknown::Wait
        } else {
            Unknown::Ask
        };
        said.signs.push(Sign::Head { oid, unknown });
        Ok(())
    }

    /// Whether a pull request that a check names is one of this repository: the checks of a fork's
    /// branch name pull requests of others, too.
    fn is_ours(&self, found: &PullRequest) -> bool {
        let id = |end: &Option<End>| end.as_ref()?.repo.as_ref()?.id;
        match (id(&found.base), self.repository.id) {
            (Some(base), Some(here)) => base == here,
            (None, _) | (_, None) => true,
        }
    }

    /// A deployment shows in the timeline.
    fn deployment(&self, said: &mut Said) -> Result<(), Unreadable> {
        let found: OnCommit =
            part(self.payload.deployment).ok_or_else(|| self.missing("deployment"))?;
        let oid = found.sha.filter(|sha| is_oid(sha));
        let oid = oid.ok_or_else(|| self.missing("deployment.sha"))?;
        let unknown = Unknown::Drop;
        said.signs.push(Sign::Head { oid, unknown });
        Ok(())
    }

    fn status(&self, said: &mut Said) -> Result<(), Unreadable> {
        let oid = self
            .payload
            .text(self.payload.sha)
            .filter(|sha| is_oid(sha));
        let oid = oid.ok_or_else(|| self.missing("sha"))?;
        let state = self.payload.text(self.payload.state).unwrap_or_default();
        said.urgent = state != "pending";
        said.changed_at = part(self.payload.updated_at);
        let branches: Vec<Named> = part(self.payload.branches).unwrap_or_default();
        let default = &self.repository.default_branch;
        // Branches of this repository that it is on: what is merged is nobody's new head.
        let on_default = default.is_some() && branches.iter().any(|branch| branch.name == *default);
        let unknown = if on_default {
            Unknown::Drop
        } else {
            Unknown::Ask
        };
        said.signs.push(Sign::Head { oid, unknown });
        Ok(())
    }

    /// A branch moved: the head of some pull requests, the base of others.
    fn push(&self, said: &mut Said) -> Result<(), Unreadable> {
        let reference = self.payload.text(self.payload.reference);
        let reference = reference.ok_or_else(|| self.missing("ref"))?;
        let Some(branch) = reference.strip_prefix("refs/heads/") else {
            return Ok(());
        };
        let commit = |raw| self.payload.text(raw).filter(|sha| is_oid(sha));
        let (before, after) = (commit(self.payload.before), commit(self.payload.after));
        let unknown = Unknown::Drop;
        // Its commits may be heads of pull requests that were merged; none of them moves with it.
        let is_default = self.repository.default_branch.as_deref() == Some(branch);
        if is_default {
            said.signs
                .extend(after.is_some().then(|| Sign::Base(branch.to_owned())));
            return Ok(());
        }
        if let (Some(from), Some(to)) = (&before, &after) {
            said.heads.push(Head::Moved {
                from: from.clone(),
                to: to.clone(),
            });
        }
        let heads = before.into_iter().chain(after.clone());
        said.signs
            .extend(heads.map(|oid| Sign::Head { oid, unknown }));
        // A branch that is gone closes its pull requests, which GitHub tells of.
        if after.is_some() {
            said.signs.push(Sign::Base(branch.to_owned()));
        }
        Ok(())
    }

    /// A branch was restored or deleted, which the timeline tells.
    fn branch(&self, said: &mut Said) -> Result<(), Unreadable> {
        if self.payload.text(self.payload.ref_type).as_deref() != Some("branch") {
            return Ok(());
        }
        let name = self.payload.text(self.payload.reference);
        let name = name.ok_or_else(|| self.missing("ref"))?;
        said.signs.push(Sign::HeadBranch(name));
        Ok(())
    }

    fn label(&self, said: &mut Said) -> Result<(), Unreadable> {
        let label: Named = part(self.payload.label).ok_or_else(|| self.missing("label"))?;
        let name = label.name.ok_or_else(|| self.missing("label.name"))?;
        let changes: Changes = part(self.payload.changes).unwrap_or_default();
        if self.action != "created" {
            let old = changes.name.and_then(|name| name.from);
            said.signs
                .push(Sign::Label(old.into_iter().chain([name]).collect()));
        }
        Ok(())
    }

    fn milestone(&self, said: &mut Said) -> Result<(), Unreadable> {
        let milestone: Named =
            part(self.payload.milestone).ok_or_else(|| self.missing("milestone"))?;
        let title = milestone
            .title
            .ok_or_else(|| self.missing("milestone.title"))?;
        let changes: Changes = part(self.payload.changes).unwrap_or_default();
        if self.action != "created" {
            let old = changes.title.and_then(|title| title.from);
            said.signs
                .push(Sign::Milestone(old.into_iter().chain([title]).collect()));
        }
        Ok(())
    }

    /// The merge queue: the pull request is in the name of the branch that it makes.
    fn merge_group(&self, said: &mut Said) -> Result<(), Unreadable> {
        let group: MergeGroup =
            part(self.payload.merge_group).ok_or_else(|| self.missing("merge_group"))?;
        let name = group
            .head_ref
            .ok_or_else(|| self.missing("merge_group.head_ref"))?;
        let number = number_of_queue_branch(&name);
        said.signs
            .extend(number.map(|number| Sign::PullRequest { number, id: None }));
        Ok(())
    }

    fn notice(&self, repository: RepositoryName) -> Reading {
        let told = match (self.event, self.action) {
            ("public", _) => "was made public",
            ("meta", "deleted") => "has no webhook any more: it was deleted",
            ("repository", "renamed" | "transferred") => {
                "has this name now: write it in pipeline.toml"
            }
            ("repository", "archived") => "was archived: it is read-only",
            ("repository", "unarchived") => "is no longer archived",
            ("repository", "deleted") => "was deleted",
            ("repository", "privatized") => {
                "was made private: the token must be allowed to read it"
            }
            ("repository", "publicized") => "was made public",
            _ => return Reading::Nothing(NOT_ABOUT),
        };
        let before = self.name_before(&repository);
        let names = before.into_iter().chain([repository]).collect();
        Reading::Notice(names, self.repository.ids(), told.to_owned())
    }

    /// The name that a renamed or transferred repository had.
    fn name_before(&self, now: &RepositoryName) -> Option<RepositoryName> {
        let changes: Value = part(self.payload.changes)?;
        let text = |pointer: &str| changes.pointer(pointer)?.as_str();
        let name = text("/repository/name/from").unwrap_or(&now.name);
        let owner = text("/owner/from/user/login")
            .or_else(|| text("/owner/from/organization/login"))
            .unwrap_or(&now.owner);
        RepositoryName::new(owner, name)
            .ok()
            .filter(|before| before != now)
    }
}

fn installation(event: &str, action: &str, payload: &Payload<'_>) -> Reading {
    let told = match (event, action) {
        ("installation", "deleted") => "the GitHub App was uninstalled there",
        ("installation", "suspend") => "the GitHub App was suspended there",
        ("installation_repositories", "removed") => "was taken from the GitHub App's installation",
        _ => return Reading::Nothing(NOT_ABOUT),
    };
    let names = payload.listed(payload.repositories_removed);
    match payload.account() {
        // Of which repositories it was is not always told.
        Some(owner) if names.is_empty() && event == "installation" => {
            Reading::OwnerNotice(owner, told.to_owned())
        }
        Some(_) | None => Reading::Notice(names, Ids::default(), told.to_owned()),
    }
}

/// `pr-7` of `refs/heads/gh-readonly-queue/main/pr-7-<commit>`.
fn number_of_queue_branch(name: &str) -> Option<u64> {
    let (_, last) = name.rsplit_once('/')?;
    let number = last.strip_prefix("pr-")?.split('-').next()?;
    number.parse().ok()
}

/// Whether a text is the id of a commit, and not the zeros that stand for none.
pub(crate) fn is_oid(text: &str) -> bool {
    matches!(text.len(), 40 | 64)
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte != b'0')
}

#[cfg(test)]
mod tests;

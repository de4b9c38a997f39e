//! What is read of a payload. Everything may be absent or of another shape than expected: what is
//! needed and not there is told by who needs it.

use jiff::Timestamp;
use prmirror_proto::RepositoryName;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// The parts of a payload, each as it came.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Payload<'a> {
    #[serde(borrow)]
    action: Option<&'a RawValue>,
    #[serde(borrow)]
    repository: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) pull_request: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) issue: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) comment: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) review: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) check_run: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) check_suite: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) workflow_run: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) workflow_job: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) deployment: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) merge_group: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) label: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) milestone: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) changes: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) sha: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) state: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) branches: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) updated_at: Option<&'a RawValue>,
    #[serde(borrow, rename = "ref")]
    pub(crate) reference: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) ref_type: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) before: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) after: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) repositories_removed: Option<&'a RawValue>,
    #[serde(borrow)]
    repositories: Option<&'a RawValue>,
    #[serde(borrow)]
    installation: Option<&'a RawValue>,
}

/// A part as a `T`, if that is what it is.
pub(crate) fn part<T: DeserializeOwned>(raw: Option<&RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

/// A field that may have any shape.
fn lenient<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: DeserializeOwned,
{
    let raw = Option::<Box<RawValue>>::deserialize(deserializer)?;
    Ok(part(raw.as_deref()))
}

/// What a repository is known by, whatever it is called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    /// Its number.
    pub(crate) number: Option<u64>,
    /// Its node id, which may be of GitHub's older kind.
    pub(crate) node: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Repository {
    #[serde(deserialize_with = "lenient")]
    pub(crate) id: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) node_id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) full_name: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) default_branch: Option<String>,
}

impl Repository {
    pub(crate) fn ids(&self) -> Ids {
        Ids {
            number: self.id,
            node: self.node_id.clone(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct End {
    #[serde(deserialize_with = "lenient")]
    pub(crate) sha: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) repo: Option<Repository>,
}

/// A pull request, whole or as a check tells of it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PullRequest {
    #[serde(deserialize_with = "lenient")]
    pub(crate) number: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) node_id: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) updated_at: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) head: Option<End>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) base: Option<End>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Issue {
    #[serde(deserialize_with = "lenient")]
    pub(crate) number: Option<u64>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) updated_at: Option<Timestamp>,
    /// There when it is a pull request.
    pub(crate) pull_request: Option<Box<RawValue>>,
}

/// Something with times: a comment, a review, a job.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Times {
    #[serde(deserialize_with = "lenient")]
    pub(crate) updated_at: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) submitted_at: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) completed_at: Option<Timestamp>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) started_at: Option<Timestamp>,
}

impl Times {
    /// The last of them.
    pub(crate) fn last(&self) -> Option<Timestamp> {
        let all = [
            self.updated_at,
            self.submitted_at,
            self.completed_at,
            self.started_at,
        ];
        all.into_iter().flatten().max()
    }
}

/// A check run, check suite, workflow run, job or deployment: something about a commit.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct OnCommit {
    #[serde(deserialize_with = "lenient")]
    pub(crate) head_sha: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) sha: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) head_branch: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) head_repository: Option<Repository>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) pull_requests: Option<Vec<PullRequest>>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) check_suite: Option<Suite>,
}

/// The suite of a check run.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Suite {
    #[serde(deserialize_with = "lenient")]
    pub(crate) head_branch: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) pull_requests: Option<Vec<PullRequest>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct MergeGroup {
    #[serde(deserialize_with = "lenient")]
    pub(crate) head_ref: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Named {
    #[serde(deserialize_with = "lenient")]
    pub(crate) name: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) title: Option<String>,
}

/// `changes` of a label or a milestone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Changes {
    #[serde(deserialize_with = "lenient")]
    pub(crate) name: Option<Before>,
    #[serde(deserialize_with = "lenient")]
    pub(crate) title: Option<Before>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Before {
    #[serde(deserialize_with = "lenient")]
    pub(crate) from: Option<String>,
}

impl Payload<'_> {
    pub(crate) fn action(&self) -> String {
        part(self.action).unwrap_or_default()
    }

    pub(crate) fn repository(&self) -> Option<Repository> {
        part(self.repository)
    }

    pub(crate) fn text(&self, raw: Option<&RawValue>) -> Option<String> {
        part(raw)
    }

    /// Who owns what an installation is of.
    pub(crate) fn account(&self) -> Option<String> {
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct Installation {
            #[serde(deserialize_with = "lenient")]
            account: Option<Account>,
        }
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        struct Account {
            #[serde(deserialize_with = "lenient")]
            login: Option<String>,
        }
        part::<Installation>(self.installation)?.account?.login
    }

    /// The repositories that an installation's event names.
    pub(crate) fn listed(&self, raw: Option<&RawValue>) -> Vec<RepositoryName> {
        let listed: Vec<Repository> = part(raw.or(self.repositories)).unwrap_or_default();
        let name = |one: Repository| one.full_name?.parse().ok();
        listed.into_iter().filter_map(name).collect()
    }
}

//! The verdict on one answer.

use std::time::Duration;

use jiff::Timestamp;
use prmirror_github::{Fault, pull_request_of};
use prmirror_proto::digest;
use prmirror_proto::messages::{
    ChangeRequest, FetchOutcome, Fetched, Lane, Observation, Source, Valid,
};

use crate::rules::{self, Rule};

/// What becomes of an answer.
#[derive(Debug)]
pub enum Judgement {
    /// It is believed; when it is torn or cut, a second look is asked for as well.
    Accepted {
        /// The accepted observation.
        valid: Box<Valid>,
        /// The second look.
        recheck: Option<Box<ChangeRequest>>,
    },
    /// It is not believed before GitHub says the same again.
    Recheck(Box<ChangeRequest>),
    /// It does not land.
    Refused {
        /// The rule that it breaks.
        rule: Rule,
        /// How.
        reason: String,
    },
}

/// How the basis begins of a request to look again whether a pull request is gone.
const GONE: &str = "gone";

/// How it begins when an answer was torn or cut.
const DOUBT: &str = "recheck";

/// Judges an answer. `cause` is the message id of the answer.
#[must_use]
pub fn judge(fetched: Fetched, cause: &str, recheck_delay: Duration) -> Judgement {
    let second_look = fetched.provenance.source == Source::Recheck;
    let (pull_request, pages, errors) = match &fetched.outcome {
        FetchOutcome::NotFound { .. } if second_look && was_gone(&fetched) => {
            return Judgement::Accepted {
                valid: Box::new(valid(&fetched, Observation::Gone, Vec::new())),
                recheck: None,
            };
        }
        // A lagging replica says the same of a pull request that was opened a second ago.
        FetchOutcome::NotFound { .. } => {
            let request = recheck(
                &fetched,
                cause,
                recheck_delay,
                GONE,
                "GitHub says it does not exist",
            );
            return Judgement::Recheck(Box::new(request));
        }
        FetchOutcome::Answered {
            pull_request,
            pages,
            errors,
        } => (pull_request, pages, errors),
    };
    let converted = match pull_request_of(pull_request.get(), pages) {
        Ok(converted) => converted,
        Err(error) => {
            return Judgement::Refused {
                rule: Rule::Shape,
                reason: error.to_string(),
            };
        }
    };
    let mut snapshot = converted.snapshot;
    if let Some((rule, reason)) = rules::check(&snapshot.pull_request, fetched.number) {
        return Judgement::Refused { rule, reason };
    }
    let mut notes = Vec::new();
    if snapshot.pull_request.repository != fetched.repository {
        // A renamed repository answers under its new name; the mirror keeps the configured one.
        notes.push(format!(
            "repository-renamed:{}",
            snapshot.pull_request.repository
        ));
        snapshot.pull_request.repository = fetched.repository.clone();
    }
    notes.extend(errors.iter().map(|error| {
        let kind = error.error_type.as_deref().unwrap_or("error");
        format!("answer-error:{kind}")
    }));
    let mut doubts = Vec::new();
    if let Some(reason) = rules::torn(&snapshot.pull_request) {
        notes.push(Rule::Torn.code().to_owned());
        doubts.push(reason);
    }
    for fault in &converted.faults {
        let (collection, reason) = match fault {
            Fault::Length {
                collection,
                total,
                held,
            } => (*collection, format!("{collection}: {held} of {total}")),
            Fault::NullNode { collection } => (*collection, format!("{collection}: a null node")),
            Fault::Cut { collection } => (*collection, format!("{collection}: it goes on")),
            Fault::NoList { collection } => (*collection, format!("{collection}: no list")),
        };
        notes.push(format!("{}:{collection}", Rule::Partial.code()));
        doubts.push(reason);
    }
    let recheck = (!doubts.is_empty() && !second_look).then(|| {
        let reason = doubts.join("; ");
        Box::new(recheck(&fetched, cause, recheck_delay, DOUBT, &reason))
    });
    let observation = Observation::Present {
        snapshot: Box::new(snapshot),
    };
    Judgement::Accepted {
        valid: Box::new(valid(&fetched, observation, notes)),
        recheck,
    }
}

fn valid(fetched: &Fetched, observation: Observation, notes: Vec<String>) -> Valid {
    Valid {
        repository: fetched.repository.clone(),
        number: fetched.number,
        observed_at: fetched.observed_at,
        provenance: fetched.provenance.clone(),
        observation,
        notes,
    }
}

/// Whether this answer was asked for because GitHub had said that there is no such pull request.
fn was_gone(fetched: &Fetched) -> bool {
    let asked = format!("#{}:{GONE}:", fetched.number);
    fetched.provenance.request.contains(&asked)
}

fn recheck(
    fetched: &Fetched,
    cause: &str,
    delay: Duration,
    why: &str,
    reason: &str,
) -> ChangeRequest {
    let delay = jiff::SignedDuration::try_from(delay).unwrap_or(jiff::SignedDuration::ZERO);
    ChangeRequest {
        repository: fetched.repository.clone(),
        number: fetched.number,
        // Asked for by number, which is how GitHub says that it does not exist.
        id: None,
        lane: Lane::Realtime,
        source: Source::Recheck,
        basis: format!("{why}:{}", digest::of_bytes(cause.as_bytes())),
        reason: reason.to_owned(),
        noticed_at: fetched.provenance.noticed_at,
        changed_at: fetched.provenance.changed_at,
        not_before: Timestamp::now().checked_add(delay).ok(),
        seen: None,
    }
}

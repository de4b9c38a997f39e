//! The verdict on one answer.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;
use prmirror_github::{Fault, pull_request_of};
use prmirror_proto::digest;
use prmirror_proto::messages::{
    ChangeRequest, FetchOutcome, Fetched, Lane, Observation, Source, Valid,
};
use prmirror_proto::pull_request::Completeness;
use prmirror_proto::text::without_halves;
use serde_json::value::RawValue;

use crate::rules::{self, Doubt, Follows, Rule};

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

/// How it begins when the answer was about another node.
const OTHER: &str = "identity";

/// How it begins when an answer was torn or cut.
const DOUBT: &str = "recheck";

/// Judges an answer. `cause` is the message id of the answer.
#[must_use]
pub fn judge(mut fetched: Fetched, cause: &str, recheck_delay: Duration) -> Judgement {
    let had_halves = mend(&mut fetched.outcome);
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
    // What was known by that id may be known by another since. The number decides, with which no id is asked
    // for: so this happens once.
    if let Some(reason) = rules::other_node(&snapshot.pull_request, fetched.id.as_deref()) {
        let reason = format!("{}: {reason}", Rule::Identity.code());
        let request = recheck(&fetched, cause, recheck_delay, OTHER, &reason);
        return Judgement::Recheck(Box::new(request));
    }
    let mut doubts = Vec::new();
    if snapshot.pull_request.repository != fetched.repository {
        // A renamed repository answers under its new name; the mirror keeps the configured one.
        let name = snapshot.pull_request.repository.to_string();
        doubts.push(Doubt::of(Rule::Renamed, &name, format!("it is {name} now")));
        snapshot.pull_request.repository = fetched.repository.clone();
    }
    doubts.extend(errors.iter().map(|error| {
        let kind = error.error_type.as_deref().unwrap_or("error");
        Doubt::of(Rule::AnswerError, kind, error.message.clone())
    }));
    doubts.extend(rules::tidy(&mut snapshot.pull_request));
    doubts.extend(converted.faults.iter().map(of_fault));
    if had_halves {
        let reason = "half a character, replaced with U+FFFD";
        doubts.push(Doubt::of(Rule::Text, "surrogate", reason));
    }
    let pr = &snapshot.pull_request;
    doubts.extend(rules::doubts(pr, &converted.label_ids));
    for doubt in &doubts {
        if doubt.rule == Rule::Capped && doubt.what.as_deref() == Some("files") {
            snapshot.pull_request.files.completeness = Completeness::Partial;
        }
    }
    let asks = |doubt: &&Doubt| doubt.rule.entry().follows == Follows::Recheck;
    let reasons: Vec<&str> = doubts.iter().filter(asks).map(|d| &*d.reason).collect();
    let recheck = (!reasons.is_empty() && !second_look).then(|| {
        let reason = reasons.join("; ");
        Box::new(recheck(&fetched, cause, recheck_delay, DOUBT, &reason))
    });
    let mut notes: Vec<String> = Vec::new();
    for note in doubts.iter().map(Doubt::note) {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    let observation = Observation::Present {
        snapshot: Box::new(snapshot),
    };
    Judgement::Accepted {
        valid: Box::new(valid(&fetched, observation, notes)),
        recheck,
    }
}

/// Replaces halves of characters in an answer; tells whether there were any.
fn mend(outcome: &mut FetchOutcome) -> bool {
    let FetchOutcome::Answered {
        pull_request,
        pages,
        ..
    } = outcome
    else {
        return false;
    };
    let bodies = pages.iter_mut().map(|page| &mut page.body);
    let mut any = false;
    for body in std::iter::once(pull_request).chain(bodies) {
        if let Cow::Owned(mended) = without_halves(body.get())
            && let Ok(mended) = RawValue::from_string(mended)
        {
            *body = mended;
            any = true;
        }
    }
    any
}

/// Whether GitHub ends a list here, however much there is.
fn is_capped(collection: &str, held: u64) -> bool {
    match collection {
        "commits" => held == rules::COMMITS_LISTED,
        "files" => held >= rules::FILES_LISTED,
        _ => false,
    }
}

/// What a fault of a list means.
fn of_fault(fault: &Fault) -> Doubt {
    let (rule, collection, reason) = match fault {
        Fault::Length {
            collection,
            total,
            held,
        } => {
            let rule = if total > held && is_capped(collection, *held) {
                Rule::Capped
            } else {
                Rule::Partial
            };
            (
                rule,
                *collection,
                format!("{collection}: {held} of {total}"),
            )
        }
        Fault::NullNode { collection } => (
            Rule::Partial,
            *collection,
            format!("{collection}: a null node"),
        ),
        Fault::Cut { collection } => (
            Rule::Partial,
            *collection,
            format!("{collection}: it goes on"),
        ),
        Fault::NoList { collection } => {
            (Rule::Partial, *collection, format!("{collection}: no list"))
        }
    };
    Doubt::of(rule, collection, reason)
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
        urgent: false,
        seen: None,
    }
}

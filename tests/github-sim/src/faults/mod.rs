//! Faults: what goes wrong, and when.
//!
//! A [`Fault`] says which requests it hits and what becomes of them ([`Effect`]). Faults are given
//! as a JSON array (`--faults FILE`), one by one at `POST /_sim/faults`, or by [`Faults::add`].

mod broken;
mod effect;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use broken::BrokenError;
pub(crate) use effect::{Whole, apply, time_out, whole};

use crate::random::Random;

/// A fault: conditions, all of which must hold, and an effect. Without conditions it hits every
/// request, as long as it stays in the list.
///
/// ```
/// let fault: github_sim::Fault = serde_json::from_str(r#"
///     {"operation": "PullRequestsById", "number": 42, "times": 1,
///      "effect": {"kind": "html", "status": 502}}
/// "#)?;
/// assert_eq!(fault.number, Some(42));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Only requests for this operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Only requests that ask for this pull request, as a whole or for a further page of it. Also the
    /// pull request that an effect on one pull request is for (else it is the first one asked for).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// Only requests whose node count is above this: an answer that is too heavy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes_above: Option<u64>,
    /// Not before this world time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// Only before this world time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Only every so many of the requests that fulfil the conditions above: 3 hits the third, sixth...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// With this probability, from 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// The seed of `probability`.
    #[serde(default)]
    pub seed: u64,
    /// At most so many times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
    /// What happens.
    pub effect: Effect,
}

/// What becomes of a request that a fault hits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// This answer instead, verbatim.
    Replace {
        /// The HTTP status.
        #[serde(default = "ok")]
        status: u16,
        /// Headers, added to or in place of the usual ones.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// The body.
        body: String,
    },
    /// GitHub's HTML error page, as its proxies send it.
    Html {
        /// The HTTP status: 502, 503, 504.
        status: u16,
    },
    /// GitHub's JSON answer to a request that took over ten seconds.
    TimeOut,
    /// An empty body.
    Empty {
        /// The HTTP status.
        #[serde(default = "ok")]
        status: u16,
    },
    /// The connection breaks in the middle of the body.
    DropConnection,
    /// The body ends in the middle, as if that were all.
    Truncate,
    /// The answer comes later. Goes together with other effects.
    Delay {
        /// By how much, in wall time.
        milliseconds: u64,
    },
    /// The answer does not come before all faults are removed. Goes together with other effects.
    Hold,
    /// The primary rate limit, whatever is left: nothing remains, the headers say, until the window ends.
    RateLimited {
        /// The HTTP status: 200 with an error of GraphQL, or 403 or 429 with a message.
        #[serde(default = "ok")]
        status: u16,
    },
    /// A secondary rate limit.
    SecondaryLimit {
        /// The HTTP status: 403, 429 or 200.
        #[serde(default = "forbidden")]
        status: u16,
        /// The `retry-after` header in seconds, if there is one.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// RESOURCE_LIMITS_EXCEEDED: the second half of the pull requests is null.
    ResourceLimits,
    /// An error without type and no data.
    SomethingWentWrong,
    /// One pull request is null, with an error without type at its place.
    PullRequestFailed,
    /// One pull request is null, with NOT_FOUND at its place.
    PullRequestNotFound,
    /// One pull request, or a field of it, is null, with FORBIDDEN at its place: SAML enforcement.
    Forbidden {
        /// The way to the field through response keys; the whole pull request without it.
        #[serde(default)]
        field: Option<String>,
    },
    /// A value of the wrong type in a field of one pull request.
    WrongType {
        /// The way to it through response keys: `title`, `labels/totalCount`.
        field: String,
    },
    /// Each U+FFFD of the answer is sent as the escape of a lone surrogate, `\\ud83d`: what is in a
    /// text that was cut in the middle of an emoji, and is no Unicode.
    LoneSurrogates,
    /// A pull request is shown in this state, whatever it is in: one of before, as a replica that lags
    /// behind answers; half of one and half of another, as when an answer is put together while things
    /// change; or with a `totalCount` beside the `nodes` of a list, which is then told instead of their
    /// number.
    Shows {
        /// The pull request, as [`crate::Sim::truth_of`] gives it; `id` tells which it is.
        state: serde_json::Value,
    },
    /// Null in a field of one pull request, and no error.
    Null {
        /// The way to it through response keys: `labels`, `files/nodes/0/path`.
        field: String,
    },
}

fn ok() -> u16 {
    200
}

fn forbidden() -> u16 {
    403
}

impl Effect {
    /// The name of the effect in JSON and in [`crate::Stats::faults`].
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Replace { .. } => "replace",
            Self::Html { .. } => "html",
            Self::TimeOut => "time_out",
            Self::Empty { .. } => "empty",
            Self::DropConnection => "drop_connection",
            Self::Truncate => "truncate",
            Self::Delay { .. } => "delay",
            Self::Hold => "hold",
            Self::RateLimited { .. } => "rate_limited",
            Self::SecondaryLimit { .. } => "secondary_limit",
            Self::ResourceLimits => "resource_limits",
            Self::SomethingWentWrong => "something_went_wrong",
            Self::PullRequestFailed => "pull_request_failed",
            Self::PullRequestNotFound => "pull_request_not_found",
            Self::Forbidden { .. } => "forbidden",
            Self::WrongType { .. } => "wrong_type",
            Self::LoneSurrogates => "lone_surrogates",
            Self::Shows { .. } => "shows",
            Self::Null { .. } => "null",
        }
    }
}

impl Effect {
    /// Whether it changes what is said of one pull request, and leaves the rest of the answer alone.
    pub(crate) fn is_about_one(&self) -> bool {
        match self {
            Self::PullRequestFailed
            | Self::PullRequestNotFound
            | Self::Forbidden { .. }
            | Self::WrongType { .. }
            | Self::Shows { .. }
            | Self::Null { .. } => true,
            Self::Replace { .. }
            | Self::Html { .. }
            | Self::TimeOut
            | Self::Empty { .. }
            | Self::DropConnection
            | Self::Truncate
            | Self::Delay { .. }
            | Self::Hold
            | Self::RateLimited { .. }
            | Self::SecondaryLimit { .. }
            | Self::ResourceLimits
            | Self::SomethingWentWrong
            | Self::LoneSurrogates => false,
        }
    }
}

impl Fault {
    /// A fault without conditions.
    pub fn new(effect: Effect) -> Self {
        Self {
            operation: None,
            number: None,
            nodes_above: None,
            from: None,
            until: None,
            every: None,
            probability: None,
            seed: 0,
            times: None,
            effect,
        }
    }

    /// Only for this operation.
    pub fn operation(self, name: &str) -> Self {
        Self {
            operation: Some(name.to_owned()),
            ..self
        }
    }

    /// Only for, and on, this pull request.
    pub fn number(self, number: u64) -> Self {
        Self {
            number: Some(number),
            ..self
        }
    }

    /// At most so many times.
    pub fn times(self, times: u64) -> Self {
        Self {
            times: Some(times),
            ..self
        }
    }
}

/// What a request is, for the conditions of faults.
pub(crate) struct Hit<'a> {
    pub(crate) operation: &'a str,
    /// Pull requests asked for, as a whole or in part.
    pub(crate) touched: &'a [u64],
    /// Those asked for as a whole.
    pub(crate) details: &'a [u64],
    pub(crate) nodes: u64,
    pub(crate) now: Timestamp,
}

/// What happens to one request.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Verdict {
    pub(crate) delay: Duration,
    /// Until when the answer is held back.
    pub(crate) hold: Option<Hold>,
    /// The effect, and the pull request that it is for.
    pub(crate) effect: Option<(Effect, Option<u64>)>,
    /// Which fault has it.
    rule: Option<u64>,
    /// Whether the effect is an answer of a recording.
    pub(crate) recorded: bool,
}

/// An answer that is held back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hold {
    /// Pull requests asked for, as a whole or in part.
    touched: Vec<u64>,
    /// How often all faults had been removed by then.
    cleared: u64,
}

/// The list of faults.
#[derive(Debug, Default)]
pub struct Faults {
    inner: Mutex<Inner>,
    /// How many faults were added so far.
    added: AtomicU64,
    /// Moves when all faults are removed.
    cleared: watch::Sender<u64>,
    /// What every answer that is held back is about.
    held: Mutex<BTreeMap<u64, Vec<u64>>>,
}

#[derive(Debug, Default)]
struct Inner {
    rules: Vec<Rule>,
    /// Answers of a recording that are still to be served, by pull request.
    broken: HashMap<u64, VecDeque<String>>,
}

#[derive(Debug)]
struct Rule {
    id: u64,
    fault: Fault,
    random: Random,
    /// Requests that fulfilled the conditions before `every`.
    candidates: u64,
    served: u64,
}

impl Faults {
    /// Adds a fault behind the others. Of several that hit a request, the first wins; delays add up.
    pub fn add(&self, fault: Fault) {
        let random = Random::new(fault.seed);
        let id = self.added.fetch_add(1, Ordering::Relaxed);
        self.with(|inner| {
            inner.rules.push(Rule {
                id,
                fault,
                random,
                candidates: 0,
                served: 0,
            });
        });
    }

    /// Removes all faults and all broken answers that were not served. What is held back goes out.
    pub fn clear(&self) {
        self.with(|inner| *inner = Inner::default());
        self.cleared.send_modify(|times| *times += 1);
    }

    /// The answers that are held back now: the pull requests that each is about, whole or in part.
    pub fn held(&self) -> Vec<Vec<u64>> {
        self.holds().values().cloned().collect()
    }

    fn holds(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<u64>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds an answer back.
    pub(crate) async fn hold(&self, hold: Hold) {
        let mut cleared = self.cleared.subscribe();
        let place = {
            let mut holds = self.holds();
            let place = holds.keys().next_back().map_or(0, |last| last + 1);
            holds.insert(place, hold.touched);
            place
        };
        // Also when the client goes away, which ends this.
        let _over = Over(self, place);
        let _ = cleared.wait_for(|times| *times != hold.cleared).await;
    }

    /// The faults in the list, each with how often it was served.
    pub fn list(&self) -> Vec<(Fault, u64)> {
        self.with(|inner| {
            inner
                .rules
                .iter()
                .map(|r| (r.fault.clone(), r.served))
                .collect()
        })
    }

    /// Reads recorded broken answers, `{"number", "observed_at", "body"}` a line, and serves each
    /// body once, verbatim, in place of an answer to a query that asks for that pull request as a
    /// whole. Returns how many there are.
    ///
    /// # Errors
    /// When the file cannot be read or a line is something else.
    pub fn broken_answers(&self, path: impl AsRef<Path>) -> Result<usize, BrokenError> {
        let answers = broken::read(path.as_ref())?;
        let count = answers.len();
        self.with(|inner| {
            for (number, body) in answers {
                inner.broken.entry(number).or_default().push_back(body);
            }
        });
        Ok(count)
    }

    /// How many broken answers were not served yet.
    pub fn broken_left(&self) -> usize {
        self.with(|inner| inner.broken.values().map(VecDeque::len).sum())
    }

    pub(crate) fn decide(&self, hit: &Hit<'_>) -> Verdict {
        self.with(|inner| {
            let mut verdict = Verdict::default();
            for number in hit.details {
                if let Some(body) = inner.broken.get_mut(number).and_then(VecDeque::pop_front) {
                    verdict.effect = Some((broken::effect(body), Some(*number)));
                    verdict.recorded = true;
                    return verdict;
                }
            }
            for rule in &mut inner.rules {
                let is_late = matches!(rule.fault.effect, Effect::Delay { .. } | Effect::Hold);
                if (verdict.effect.is_some() && !is_late) || !rule.hits(hit) {
                    continue;
                }
                rule.served += 1;
                if let Effect::Delay { milliseconds } = rule.fault.effect {
                    verdict.delay += Duration::from_millis(milliseconds);
                } else if rule.fault.effect == Effect::Hold {
                    verdict.hold = Some(Hold {
                        touched: hit.touched.to_vec(),
                        cleared: *self.cleared.borrow(),
                    });
                } else {
                    let target = rule.fault.number.or_else(|| hit.touched.first().copied());
                    verdict.effect = Some((rule.fault.effect.clone(), target));
                    verdict.rule = Some(rule.id);
                }
            }
            verdict
        })
    }

    /// The answer had nothing that the effect is for: it was not served.
    pub(crate) fn not_met(&self, verdict: &Verdict) {
        self.with(|inner| {
            let rule = inner.rules.iter_mut().find(|r| Some(r.id) == verdict.rule);
            if let Some(rule) = rule {
                rule.served = rule.served.saturating_sub(1);
            }
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        act(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Takes an answer off the list of those that are held back.
struct Over<'f>(&'f Faults, u64);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.holds().remove(&self.1);
    }
}

impl Rule {
    fn hits(&mut self, hit: &Hit<'_>) -> bool {
        let fault = &self.fault;
        let applies = fault
            .operation
            .as_deref()
            .is_none_or(|o| o == hit.operation)
            && fault.number.is_none_or(|n| hit.touched.contains(&n))
            && fault.nodes_above.is_none_or(|n| hit.nodes > n)
            && fault.from.is_none_or(|t| hit.now >= t)
            && fault.until.is_none_or(|t| hit.now < t)
            && fault.times.is_none_or(|n| self.served < n);
        if !applies {
            return false;
        }
        self.candidates += 1;
        let turn = fault
            .every
            .is_none_or(|n| n > 0 && self.candidates.is_multiple_of(n));
        turn && fault.probability.is_none_or(|p| self.random.chance(p))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn hit<'a>(operation: &'a str, numbers: &'a [u64]) -> Hit<'a> {
        Hit {
            operation,
            touched: numbers,
            details: numbers,
            nodes: 1,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    fn hits(faults: &Faults, operation: &str, numbers: &[u64]) -> bool {
        faults.decide(&hit(operation, numbers)).effect.is_some()
    }

    #[test]
    fn conditions_must_all_hold() {
        let faults = Faults::default();
        faults.add(
            Fault::new(Effect::TimeOut)
                .operation("A")
                .number(2)
                .times(2),
        );
        assert!(!hits(&faults, "B", &[2]));
        assert!(!hits(&faults, "A", &[1]));
        assert!(hits(&faults, "A", &[1, 2]));
        assert!(hits(&faults, "A", &[2]));
        assert!(!hits(&faults, "A", &[2]), "only twice");
    }

    #[test]
    fn every_third_is_hit() {
        let faults = Faults::default();
        let every = Some(3);
        faults.add(Fault {
            every,
            ..Fault::new(Effect::TimeOut)
        });
        let hit: Vec<bool> = (0..6).map(|_| hits(&faults, "A", &[])).collect();
        assert_eq!(hit, [false, false, true, false, false, true]);
    }

    #[test]
    fn probability_follows_its_seed() {
        let run = |seed| {
            let faults = Faults::default();
            let probability = Some(0.3);
            faults.add(Fault {
                probability,
                seed,
                ..Fault::new(Effect::TimeOut)
            });
            (0..1000)
                .map(|_| hits(&faults, "A", &[]))
                .collect::<Vec<_>>()
        };
        let first = run(1);
        let count = first.iter().filter(|hit| **hit).count();
        assert!((250..350).contains(&count), "{count}");
        assert_eq!(first, run(1));
        assert_ne!(first, run(2));
    }

    #[test]
    fn delays_go_with_the_first_other_effect() {
        let faults = Faults::default();
        faults.add(Fault::new(Effect::TimeOut));
        faults.add(Fault::new(Effect::Delay { milliseconds: 5 }));
        faults.add(Fault::new(Effect::RateLimited { status: 200 }));
        let verdict = faults.decide(&hit("A", &[7]));
        assert_eq!(verdict.delay, Duration::from_millis(5));
        assert_eq!(verdict.effect, Some((Effect::TimeOut, Some(7))));
    }

    #[tokio::test]
    async fn what_is_held_back_goes_out_when_the_faults_are_removed() {
        let faults = Faults::default();
        faults.add(Fault::new(Effect::Hold).times(2));
        faults.add(Fault::new(Effect::TimeOut));
        let verdict = faults.decide(&hit("A", &[7, 8]));
        assert_eq!(verdict.effect, Some((Effect::TimeOut, Some(7))));
        let held = faults.hold(verdict.hold.unwrap());
        let mut held = std::pin::pin!(held);
        assert!(futures::poll!(&mut held).is_pending());
        assert_eq!(faults.held(), [[7, 8]]);
        // One that was decided before, and is held back only now.
        let late = faults.decide(&hit("A", &[9])).hold.unwrap();
        faults.clear();
        held.await;
        faults.hold(late).await;
        assert_eq!(faults.held(), [[0; 0]; 0]);
        assert_eq!(faults.decide(&hit("A", &[7])), Verdict::default());
    }

    #[test]
    fn unknown_keys_are_refused() {
        for json in [
            r#"{"effect": {"kind": "time_out"}, "opertion": "A"}"#,
            r#"{"effect": {"kind": "html", "status": 502, "bdy": ""}}"#,
            r#"{"effect": {"kind": "explode"}}"#,
        ] {
            assert!(serde_json::from_str::<Fault>(json).is_err(), "{json}");
        }
    }
}

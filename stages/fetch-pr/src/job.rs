//! A pull request that is being fetched: what asked for it, and how far it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use prmirror_github::{Ask, PullRequestAnswer};
use prmirror_kit::Outcome;
use prmirror_proto::messages::{ChangeRequest, Source};
use tokio::sync::oneshot;

use crate::records::Verdict;

/// A pull request that is being fetched.
pub(crate) struct Job {
    /// What asked for it.
    pub(crate) request: Arc<ChangeRequest>,
    /// Message id of the request.
    pub(crate) cause: String,
    /// Place of the request in the stream.
    pub(crate) sequence: u64,
    /// Whoever waits for the end.
    pub(crate) done: oneshot::Sender<Ended>,
    /// Failures in a row before.
    pub(crate) failures: u32,
    /// It failed so often that it lands with what can be had: lists that do not come are left out.
    pub(crate) stubborn: bool,
    /// Of it nothing is here yet that is new: its header lands by itself.
    pub(crate) header_first: bool,
    /// How far it is.
    pub(crate) work: Work,
}

impl Job {
    /// It failed before: it is asked for alone, and holds nobody up.
    pub(crate) fn is_suspect(&self) -> bool {
        self.failures > 0
    }

    /// One fetch serves this job and another like it: each wants to know what GitHub says after it was noticed, and
    /// no more, and nothing of it has been asked yet. A repair writes rows as well, a second look is judged in
    /// another way, and what a backfill hands on is counted.
    pub(crate) fn is_shareable(&self) -> bool {
        let is_sign = match self.request.source {
            Source::Webhook | Source::Poll | Source::Sweep => true,
            Source::Backfill | Source::Request | Source::Finding | Source::Recheck => false,
        };
        is_sign && !self.is_suspect() && self.work.answer.is_none()
    }

    /// Becomes the newer one of the two, and the older one is returned. It is the newer one whose message is in the
    /// stream: were the older one fetched and the newer one settled, a process that dies would lose both. What noticed
    /// the change, and when, is told by whichever did so first, which need not have been published first.
    pub(crate) fn share_with(&mut self, other: Self) -> Self {
        let mut older = other;
        if older.sequence > self.sequence {
            std::mem::swap(self, &mut older);
        }
        let newer = (*self.request).clone();
        let first: &ChangeRequest = if newer.noticed_at < older.request.noticed_at {
            &newer
        } else {
            &older.request
        };
        self.request = Arc::new(ChangeRequest {
            source: first.source,
            noticed_at: first.noticed_at,
            changed_at: first.changed_at,
            urgent: older.request.urgent || newer.urgent,
            ..newer
        });
        older
    }
}

/// How a fetch ended, and what that says about the pull request.
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) verdict: Verdict,
    /// Answers that are kept of it.
    pub(crate) steps: u32,
    /// It goes on where it stopped when its request comes again.
    pub(crate) goes_on: bool,
}

/// What is known of a pull request so far, and what is not.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) answer: Option<PullRequestAnswer>,
    /// Questions that are not answered, wherever they are.
    pub(crate) open: BTreeMap<u32, Ask>,
    /// Questions so far.
    asked: u32,
    /// Answers so far that are kept in case this process dies.
    pub(crate) steps: u32,
    /// Pages that were asked for again.
    pub(crate) page_retries: u32,
    /// Lists that did not come, and are left out.
    pub(crate) left_out: Vec<LeftOut>,
}

impl Work {
    /// A pull request of which nothing has been asked but this.
    pub(crate) fn new(ask: Ask) -> Self {
        let mut work = Self::default();
        work.ask(ask);
        work
    }

    /// Questions up to this one were asked.
    pub(crate) fn asked_up_to(&mut self, question: u32) {
        self.asked = self.asked.max(question.saturating_add(1));
    }

    /// One question more; its number.
    pub(crate) fn ask(&mut self, ask: Ask) -> u32 {
        let question = self.asked;
        self.asked += 1;
        self.open.insert(question, ask);
        question
    }
}

/// A list that did not come.
pub(crate) struct LeftOut {
    /// Code of the error.
    pub(crate) code: &'static str,
    /// The error.
    pub(crate) error: String,
}

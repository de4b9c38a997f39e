//! What was read of pull requests that are not whole yet, in the broker's bucket: an entry for each answer,
//! so that a process that dies costs no more than the document it had under way.
//!
//! An entry is written before the next document is sent. It says which request it was read for; what a newer
//! one wants to know, pages of before do not tell.

use std::sync::Arc;

use futures::future::join_all;
use jiff::Timestamp;
use prmirror_github::{Ask, PageAsk, PullRequestAnswer};
use prmirror_kit::{Bus, Kv, KvError};
use prmirror_proto::messages::{ChangeRequest, Page};
use prmirror_proto::subjects::{BUCKET_PAGES, pull_request_key};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::job::Work;

/// The answers that are kept.
#[derive(Default)]
pub(crate) struct Pages {
    bus: Option<Bus>,
    kv: OnceCell<Kv>,
}

/// An answer about a pull request, and what is to be asked after it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    /// The request that it was read for.
    request: String,
    /// The question that it answers.
    question: u32,
    part: Part,
    /// The questions that follow from it.
    more: Vec<(u32, PageAsk)>,
}

/// What was answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Part {
    /// The pull request with the beginnings of its lists.
    Whole(PullRequestAnswer),
    /// A further page.
    Page {
        /// The page.
        page: Page,
        /// When it came.
        received_at: Timestamp,
    },
}

impl Step {
    pub(crate) fn new(request: &str, question: u32, part: Part, more: Vec<(u32, PageAsk)>) -> Self {
        Self {
            request: request.to_owned(),
            question,
            part,
            more,
        }
    }
}

impl Work {
    /// Takes in what was read before.
    fn take_in(&mut self, step: Step) {
        match (step.part, &mut self.answer) {
            (Part::Whole(answer), _) => self.answer = Some(answer),
            (Part::Page { page, received_at }, Some(answer)) => answer.add(page, received_at),
            (Part::Page { .. }, None) => {}
        }
        self.steps += 1;
        self.asked_before(step.question, step.more);
    }
}

/// The keys of a pull request's answers, in their order.
fn key(request: &ChangeRequest, place: u32) -> String {
    let pull_request = pull_request_key(&request.repository, request.number);
    format!("{pull_request}.{}.{place}", request.lane)
}

impl Pages {
    pub(crate) fn on(bus: Bus) -> Self {
        Self {
            bus: Some(bus),
            kv: OnceCell::new(),
        }
    }

    /// Whether anything is kept at all.
    pub(crate) const fn are_kept(&self) -> bool {
        self.bus.is_some()
    }

    async fn kv(&self) -> Result<Option<&Kv>, KvError> {
        let Some(bus) = &self.bus else {
            return Ok(None);
        };
        let kv = self.kv.get_or_try_init(|| bus.kv(BUCKET_PAGES)).await;
        kv.map(Some)
    }

    /// Keeps answers. One that cannot be kept is asked for again if this process dies.
    pub(crate) async fn keep(&self, steps: &[(Arc<ChangeRequest>, u32, Step)]) {
        if steps.is_empty() {
            return;
        }
        let write = async {
            let Some(kv) = self.kv().await? else {
                return Ok(());
            };
            let writes = steps.iter().map(|(request, place, step)| async move {
                let key = key(request, *place);
                kv.put(&key, step).await
            });
            for written in join_all(writes).await {
                written?;
            }
            Ok::<(), KvError>(())
        };
        if let Err(error) = write.await {
            tracing::debug!(%error, "what was read could not be kept");
        }
    }

    /// What was read for this very request, if anything was.
    pub(crate) async fn read(&self, request: &ChangeRequest, identity: &str) -> Option<Work> {
        let read = async {
            let Some(kv) = self.kv().await? else {
                return Ok(None);
            };
            let mut work = Work::default();
            loop {
                let step = kv.get::<Step>(&key(request, work.steps)).await?;
                match step {
                    // One that answers no open question is left over from an earlier reading.
                    Some(step)
                        if step.value.request == identity
                            && (work.steps == 0
                                || work.open.contains_key(&step.value.question)) =>
                    {
                        work.take_in(step.value);
                    }
                    Some(_) | None => return Ok(Some(work)),
                }
            }
        };
        let work = read.await.unwrap_or_else(|error: KvError| {
            tracing::debug!(%error, "what was read before is not known");
            None
        });
        work.filter(|work| work.answer.is_some())
    }

    /// Strikes out so many answers of a pull request.
    pub(crate) async fn remove(&self, request: &ChangeRequest, steps: u32) {
        let strike_out = async {
            let Some(kv) = self.kv().await? else {
                return Ok(());
            };
            // From the end: what is left of it after a crash is still a beginning.
            for place in (0..steps).rev() {
                kv.delete(&key(request, place)).await?;
            }
            Ok::<(), KvError>(())
        };
        if let Err(error) = strike_out.await {
            tracing::debug!(%error, "what was read could not be struck out");
        }
    }
}

/// What a request is known by: the id of its message, however often it was handed out.
pub(crate) fn identity(cause: &str) -> &str {
    prmirror_kit::first_id(cause)
}

impl Work {
    /// A question was answered before, with the ones that follow from it.
    fn asked_before(&mut self, question: u32, more: Vec<(u32, PageAsk)>) {
        self.open.remove(&question);
        self.asked_up_to(question);
        for (question, page) in more {
            self.open.insert(question, Ask::Page(page));
            self.asked_up_to(question);
        }
    }
}

//! GitHub's answers, judged side by side and compared in the order in which they came.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::{TryStreamExt as _, stream};
use jiff::Timestamp;
use prmirror_analytics::{Record, Sequenced};
use prmirror_kit::{Bus, Delivery, Stage as _, Unreadable};
use prmirror_proto::envelope::Message as _;
use prmirror_proto::subjects::{STREAM_FETCHED, pull_request_key};
use prmirror_proto::{FetchOutcome, Fetched, Quarantined, Valid};
use serde::Serialize;
use tokio::sync::mpsc;
use validate::{Judgement, Validate, judge};

use super::compare::{self, Compared};
use super::land::{Record as Landable, Records};
use super::progress::Progress;
use super::span::Spans;

/// Judged messages between two steps, in batches of a few dozen: what bounds the memory.
const AHEAD: usize = 2;

/// What became of the answers.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Answers {
    /// Answers that were read.
    pub(crate) read: u64,
    /// Refused by validate, by code.
    pub(crate) refused: BTreeMap<&'static str, u64>,
    /// The newest refused answer of each pull request, by its key.
    #[serde(skip)]
    pub(crate) newest_refused: BTreeMap<String, Refused>,
    /// Not believed before GitHub said the same again.
    pub(crate) asked_again: u64,
    /// Could not be read: the message is damaged, or its body is gone. Sequence and reason.
    pub(crate) unreadable: Vec<(u64, String)>,
    /// What followed from the others.
    pub(crate) compared: Compared,
    /// Seconds that judging took, over all threads.
    pub(crate) judging: f64,
}

/// An answer that was refused, without its body, which stays in the stream.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    sequence: u64,
    published_at: Timestamp,
    what: Quarantined,
}

/// An answer that was believed.
pub(crate) struct Judged {
    pub(crate) sequence: u64,
    pub(crate) published_at: Timestamp,
    pub(crate) key: String,
    pub(crate) valid: Box<Valid>,
    /// Bytes of the answer.
    pub(crate) bytes: usize,
}

#[derive(Default)]
struct Batch {
    judged: Vec<Judged>,
    answers: Answers,
    /// The last sequence in it.
    last: u64,
}

/// Reads the answers and hands on what follows from them.
pub(crate) async fn replay(
    bus: &Bus,
    spans: &Spans,
    into: &Path,
    records: Records,
    progress: &Arc<Progress>,
) -> anyhow::Result<Answers> {
    let span = &spans.answers;
    progress.begin(span);
    let (judged, waiting) = mpsc::channel(AHEAD);
    let folder = match into.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => ".".into(),
    };
    let comparing =
        tokio::task::spawn_blocking(move || compare::compare_all(waiting, &records, &folder));

    let reading = bus.reading(&span.stream, &span.filter, span.first, span.last);
    let messages = stream::try_unfold(reading, async |mut reading| {
        let next = reading.next().await?;
        anyhow::Ok(next.map(|messages| (messages, reading)))
    });
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let mut batches = std::pin::pin!(
        messages
            .map_ok(|messages| async {
                Ok(tokio::task::spawn_blocking(move || judge_all(messages)).await?)
            })
            .try_buffered(threads)
    );
    let mut answers = Answers::default();
    while let Some(batch) = batches.try_next().await? {
        answers.add(batch.answers);
        progress.reached(batch.last);
        if judged.send(batch.judged).await.is_err() {
            // It has failed, and says why below.
            break;
        }
    }
    drop(judged);
    answers.compared = comparing.await.context("comparing")??;
    Ok(answers)
}

impl Answers {
    fn add(&mut self, more: Self) {
        self.read += more.read;
        self.asked_again += more.asked_again;
        self.judging += more.judging;
        self.unreadable.extend(more.unreadable);
        for (code, count) in more.refused {
            *self.refused.entry(code).or_default() += count;
        }
        // Batches come in order.
        self.newest_refused.extend(more.newest_refused);
    }

    /// What was refused, as validate sets it aside: the live database must not fill up with content that
    /// these rules refuse, and a repair is asked for.
    pub(crate) fn set_aside(&self) -> Vec<Landable> {
        let landable = |refused: &Refused| Landable {
            bytes: 0,
            record: Sequenced {
                stream: STREAM_FETCHED.to_owned(),
                sequence: refused.sequence,
                message_id: refused.what.message_id(),
                published_at: refused.published_at,
                record: Record::Quarantined(refused.what.clone()),
            },
        };
        self.newest_refused.values().map(landable).collect()
    }
}

fn judge_all(messages: Vec<Result<Delivery, Unreadable>>) -> Batch {
    let begun = Instant::now();
    let mut batch = Batch::default();
    for message in messages {
        batch.answers.read += 1;
        let delivery = match message {
            Ok(delivery) => delivery,
            Err(lost) => {
                batch.last = lost.sequence;
                batch.answers.unreadable.push((lost.sequence, lost.reason));
                continue;
            }
        };
        batch.last = delivery.stream_sequence;
        batch.judge(&delivery);
    }
    batch.answers.judging = begun.elapsed().as_secs_f64();
    batch
}

impl Batch {
    fn judge(&mut self, delivery: &Delivery) {
        let fetched: Fetched = match delivery.decode() {
            Ok(fetched) => fetched,
            Err(error) => {
                let unreadable = (delivery.stream_sequence, error.to_string());
                self.answers.unreadable.push(unreadable);
                return;
            }
        };
        let bytes = match &fetched.outcome {
            FetchOutcome::Answered {
                pull_request,
                pages,
                ..
            } => {
                let pages = pages.iter().map(|page| page.body.get().len());
                pull_request.get().len() + pages.sum::<usize>()
            }
            FetchOutcome::NotFound { .. } => 0,
        };
        let (repository, number) = (fetched.repository.clone(), fetched.number);
        let key = pull_request_key(&repository, number);
        // A second look, where one was asked for, is among the later answers.
        match judge(fetched, &delivery.id(), Duration::ZERO) {
            Judgement::Accepted { valid, recheck: _ } => self.judged.push(Judged {
                sequence: delivery.stream_sequence,
                published_at: delivery.published_at,
                key,
                valid,
                bytes,
            }),
            Judgement::Recheck(_) => self.answers.asked_again += 1,
            Judgement::Refused { rule, reason } => {
                *self.answers.refused.entry(rule.code()).or_default() += 1;
                let what = Quarantined {
                    stage: Validate::NAME.to_owned(),
                    code: rule.code().to_owned(),
                    reason,
                    repository: Some(repository),
                    number: Some(number),
                    original_subject: delivery.subject.clone(),
                    original_headers: delivery.headers.clone(),
                    original_body: String::new(),
                    deliveries: 1,
                    quarantined_at: delivery.published_at,
                };
                let refused = Refused {
                    sequence: delivery.stream_sequence,
                    published_at: delivery.published_at,
                    what,
                };
                self.answers.newest_refused.insert(key, refused);
            }
        }
    }
}

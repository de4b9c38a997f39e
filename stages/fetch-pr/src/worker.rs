//! Documents, one after the other, for as long as there is anything to ask.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use jiff::Timestamp;
use prmirror_github::{
    Ask, Asked, Client, Error, PageAsk, Parking, PullRequestAnswer, Said, Sizes,
};
use prmirror_kit::config::{FetchConfig, Repository};
use prmirror_kit::{CancellationToken, Outcome, Outgoing};
use prmirror_proto::messages::{ChangeRequest, FETCH_VERSION, Fetched, Provenance};
use prmirror_proto::state::Stubborn;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::attempts::{AGAIN, LEFT_ALONE, most_nodes};
use crate::board::{Board, Bounds, Document, Item, Next};
use crate::job::{Ended, Job, Work};
use crate::kept::Kept;
use crate::pages::{Pages, Part, Step, identity};
use crate::records::{Records, Verdict};
use crate::unsettled::Unsettled;

mod failing;

pub use failing::LONGEST_SPLIT;
use failing::Seen;

/// What the workers share.
pub(crate) struct Shared {
    client: Client,
    config: FetchConfig,
    pub(crate) parking: Parking,
    records: Records,
    board: Mutex<Board>,
    kept: Mutex<Kept>,
    pages: Pages,
    unsettled: Unsettled,
    /// Whether the next document waits until the broker has what the last one brought.
    in_step: bool,
    /// Something was put on the board.
    added: Notify,
    /// From then on nothing more is asked.
    shutdown: CancellationToken,
}

/// How long a document waits to be filled while more requests are known to come.
const FILL: Duration = Duration::from_secs(2);

/// How long the broker may take for what a document brought before the next is sent in any case.
const PATIENCE: Duration = Duration::from_secs(30);

/// Nodes of each list of a stubborn pull request that are asked for at once.
const STUBBORN_PAGE: u32 = 10;

impl Shared {
    pub(crate) fn new(
        client: Client,
        config: FetchConfig,
        records: Records,
        parking: Parking,
        pages: Pages,
    ) -> Self {
        Self {
            client,
            config,
            parking,
            records,
            board: Mutex::default(),
            kept: Mutex::default(),
            pages,
            unsettled: Unsettled::default(),
            in_step: false,
            added: Notify::new(),
            shutdown: CancellationToken::new(),
        }
    }

    /// Bulk work is divided among repositories by their priorities.
    pub(crate) fn weigh(&self, repositories: &[Repository]) {
        let weight = |one: &Repository| (one.name.clone(), one.priority.weight());
        self.board()
            .weigh(repositories.iter().map(weight).collect());
    }

    pub(crate) const fn records(&self) -> &Records {
        &self.records
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a pull request on the board that failed so often before. The end comes when the whole of it
    /// is there, or it failed.
    pub(crate) async fn fetch(
        &self,
        request: ChangeRequest,
        hand: &Hand,
        known: Option<&Stubborn>,
    ) -> oneshot::Receiver<Ended> {
        let (done, ended) = oneshot::channel();
        let cause = hand.cause.clone();
        let failures = known.map_or(0, |known| known.attempts);
        let stubborn = failures >= self.config.max_attempts;
        let mut kept = self.kept().take(&request, &cause);
        if kept.is_none() && hand.came_before {
            // A process may have died with it.
            kept = self.pages.read(&request, identity(&cause)).await;
        }
        let work = kept.unwrap_or_else(|| Work::new(self.whole(&request, failures)));
        let job = Job {
            request: Arc::new(request),
            cause,
            sequence: hand.sequence,
            done,
            failures,
            stubborn,
            header_first: stubborn
                && work.answer.is_none()
                && known.is_none_or(|known| known.wants_header(Timestamp::now())),
            work,
        };
        if job.work.open.is_empty() {
            self.is_whole(job);
            return ended;
        }
        let older = self.board().add(job, hand.more, Instant::now());
        if let Some(older) = older {
            // The newer one serves for it, and has taken its place in the stream.
            let reason = "superseded";
            self.end(older, Outcome::Skip { reason }, Verdict::Unknown);
        }
        self.added.notify_one();
        ended
    }

    /// The question for the whole of a pull request that failed so often.
    fn whole(&self, request: &ChangeRequest, failures: u32) -> Ask {
        let page = self.config.page.clamp(1, 100);
        let sizes = match &request.seen {
            _ if failures >= self.config.max_attempts => Sizes::HEADER,
            Some(seen) if failures == 0 => Sizes::seen(seen),
            Some(seen) => Sizes::seen(seen).at_most(most_nodes(page, failures)),
            None => Sizes::unknown().at_most(most_nodes(page, failures)),
        };
        Ask::PullRequest {
            number: request.number,
            id: request.id.clone(),
            sizes,
        }
    }

    /// Asks GitHub without end.
    pub(crate) async fn work(self: Arc<Self>) {
        loop {
            let document = self.next().await;
            // What cannot even be read without a panic is split like what fails otherwise, until it is alone.
            let asked = caught(self.ask(&document)).await;
            if let Err(error) = asked {
                self.failed_whole(&document, error).await;
            }
            // What follows from the answer may be enough for another worker too.
            self.added.notify_one();
            if self.in_step {
                self.unsettled.wait_at_most(PATIENCE).await;
            }
        }
    }

    /// Asks a document, and takes the answer in.
    async fn ask(&self, document: &Document) -> Result<(), Error> {
        let asks: Vec<Ask> = document.items.iter().map(|item| item.ask.clone()).collect();
        let (repository, lane) = (&document.repository, document.lane);
        let comments = self.config.thread_comments;
        let asked = self.client.ask(repository, lane, &asks, comments).await?;
        self.heard(document, asked).await;
        Ok(())
    }

    /// GitHub answered a document.
    async fn heard(&self, document: &Document, asked: Asked) {
        self.board().answered(document, asked.elapsed());
        let received_at = asked.received_at;
        // What may be so because of the whole repository.
        let mut unseen: Vec<(&Item, Result<Said, Error>)> = Vec::new();
        let mut is_seen = false;
        let mut steps = Vec::new();
        for (item, said) in document.items.iter().zip(asked.said) {
            match said {
                Ok(said) if said.is_not_found() => unseen.push((item, Ok(said))),
                Ok(said) => {
                    is_seen = true;
                    steps.extend(self.said(document, item, said, received_at));
                }
                Err(error @ (Error::Forbidden { .. } | Error::NotFound(_))) => {
                    unseen.push((item, Err(error)));
                }
                Err(error) => self.failed(document, item, &error, 1),
            }
        }
        // Of one pull request among others, it is about that one.
        let shown = if is_seen || unseen.is_empty() {
            Seen::Shown
        } else {
            self.look_at_repository(document).await
        };
        match shown {
            Seen::Shown => {
                for (item, said) in unseen {
                    match said {
                        Ok(said) => steps.extend(self.said(document, item, said, received_at)),
                        Err(error) => self.failed(document, item, &error, 1),
                    }
                }
            }
            Seen::Hidden => {}
            // Whether a pull request is gone, or nothing of the repository is shown any more, is not to be
            // guessed.
            Seen::Unknown(error) => {
                for (item, _) in &unseen {
                    self.put_off_item(item, AGAIN.after(3), &error.to_string());
                }
            }
        }
        self.keep(steps).await;
        if is_seen {
            self.parking.unpark(&document.repository).await;
        }
    }

    async fn next(&self) -> Document {
        let bounds = Bounds {
            pull_requests: self.config.batch.clamp(1, 100) as usize,
            wait: self.config.batch_wait,
            wait_for_more: self.config.batch_wait.max(FILL),
        };
        loop {
            let added = self.added.notified();
            if self.shutdown.is_cancelled() {
                self.give_back();
                added.await;
                continue;
            }
            let next = self.board().next(bounds, Instant::now());
            match next {
                Next::Document(document) => return document,
                Next::At(at) => {
                    tokio::select! {
                        () = added => {}
                        () = tokio::time::sleep_until(at) => {}
                    }
                }
                Next::Nothing => added.await,
            }
        }
    }

    /// Keeps what was read of pull requests that are not whole yet.
    async fn keep(&self, steps: Vec<(u64, Arc<ChangeRequest>, u32, Step)>) {
        let of_open: Vec<(Arc<ChangeRequest>, u32, Step)> = {
            let mut board = self.board();
            let open = steps
                .into_iter()
                .filter(|(job, ..)| board.job(*job).is_some());
            open.map(|(_, request, place, step)| (request, place, step))
                .collect()
        };
        self.pages.keep(&of_open).await;
    }

    /// Takes an answer in. What is to be kept of it, with its place, if anything is.
    fn said(
        &self,
        document: &Document,
        item: &Item,
        said: Said,
        received_at: jiff::Timestamp,
    ) -> Option<(u64, Arc<ChangeRequest>, u32, Step)> {
        let mut board = self.board();
        let job = board.job(item.job)?;
        let (stubborn, header_first) = (job.stubborn, job.header_first);
        let work = &mut job.work;
        let kept = self.pages.are_kept();
        let (part, more) = match said {
            Said::PullRequest { answer, more } => {
                let part = (kept && !more.is_empty()).then(|| Part::Whole(answer.clone()));
                work.answer = Some(answer);
                (part, more)
            }
            Said::Page { page, more } => {
                let part = kept.then(|| Part::Page {
                    page: page.clone(),
                    received_at,
                });
                if let Some(answer) = &mut work.answer {
                    answer.add(page, received_at);
                }
                (part, more)
            }
        };
        // What is known of it lands at once: its lists come after a pause, and may take long.
        if header_first && !more.is_empty() {
            if let Some(mut job) = board.remove(item.job) {
                drop(board);
                let pause = AGAIN.after(3);
                let answer = job.work.answer.take();
                let outcome = outcome_of(&job.request, &job.cause, answer);
                self.end(job, outcome, Verdict::Header { pause });
            }
            return None;
        }
        let more: Vec<(u32, PageAsk)> = more
            .into_iter()
            .map(|page| {
                let page = if stubborn {
                    page.at_most(STUBBORN_PAGE)
                } else {
                    page
                };
                (work.ask(Ask::Page(page.clone())), page)
            })
            .collect();
        let items: Vec<Item> = more
            .iter()
            .map(|(question, page)| Item {
                job: item.job,
                question: *question,
                ask: Ask::Page(page.clone()),
            })
            .collect();
        let step = part.map(|part| {
            let place = work.steps;
            work.steps += 1;
            let step = Step::new(identity(&job.cause), item.question, part, more);
            (item.job, Arc::clone(&job.request), place, step)
        });
        if stubborn {
            for one in items {
                board.ask_apart(document, vec![one], Duration::ZERO, Instant::now());
            }
        } else {
            board.go_on(document, items, Instant::now());
        }
        self.answered(&mut board, item);
        step
    }

    /// One question less; with the last one the pull request is whole.
    fn answered(&self, board: &mut Board, item: &Item) {
        let Some(job) = board.job(item.job) else {
            return;
        };
        job.work.open.remove(&item.question);
        if !job.work.open.is_empty() {
            return;
        }
        if let Some(job) = board.remove(item.job) {
            self.is_whole(job);
        }
    }

    /// Every question about a pull request is answered, or left out.
    fn is_whole(&self, mut job: Job) {
        let times = job.failures.saturating_sub(self.config.max_attempts);
        let verdict = match job.work.left_out.as_slice() {
            [] => Verdict::Settled,
            [.., last] => Verdict::Partial {
                code: last.code,
                error: format!(
                    "{} lists do not come: {}",
                    job.work.left_out.len(),
                    last.error
                ),
                pause: LEFT_ALONE.after(times + 1),
            },
        };
        let answer = job.work.answer.take();
        let outcome = outcome_of(&job.request, &job.cause, answer);
        self.end(job, outcome, verdict);
    }

    fn end(&self, job: Job, outcome: Outcome, verdict: Verdict) {
        let ended = Ended {
            outcome,
            verdict,
            steps: job.work.steps,
            goes_on: false,
        };
        self.tell(job.sequence, job.done, ended);
    }

    /// Tells whoever waits. They may be gone; the message then comes again.
    fn tell(&self, sequence: u64, done: oneshot::Sender<Ended>, ended: Ended) {
        if self.in_step {
            self.unsettled.add(sequence);
        }
        if done.send(ended).is_err() {
            self.unsettled.remove(&[sequence]);
        }
    }

    /// From now on the next document waits until the broker has what the last one brought.
    pub(crate) const fn keep_in_step(&mut self) {
        self.in_step = true;
    }

    /// At the shutdown what is under way is finished, and everything else given back.
    pub(crate) fn end_at(&mut self, shutdown: CancellationToken) {
        self.shutdown = shutdown;
    }

    /// The broker knows how these ended.
    pub(crate) fn settled(&self, sequences: &[u64]) {
        self.unsettled.remove(sequences);
    }

    pub(crate) const fn pages(&self) -> &Pages {
        &self.pages
    }
}

/// A request in hand, apart from what it says.
pub(crate) struct Hand {
    /// Its message id.
    pub(crate) cause: String,
    /// Its place in the stream.
    pub(crate) sequence: u64,
    /// It was handed out before.
    pub(crate) came_before: bool,
    /// More requests are known to come.
    pub(crate) more: bool,
}

/// The same, with a panic as an error: a worker that is gone would leave what it had in hand for ever.
async fn caught<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let caught = AssertUnwindSafe(work).catch_unwind().await;
    caught.unwrap_or_else(|_| Err(Error::Shape("reading the answer ended in a panic".into())))
}

fn outcome_of(request: &ChangeRequest, cause: &str, answer: Option<PullRequestAnswer>) -> Outcome {
    let Some(answer) = answer else {
        return Outcome::Retry {
            after: Duration::from_secs(1),
            reason: "nothing was answered".to_owned(),
        };
    };
    let fetched = Fetched {
        repository: request.repository.clone(),
        number: request.number,
        id: request.id.clone(),
        observed_at: answer.observed_at,
        received_at: answer.received_at,
        provenance: Provenance {
            source: request.source,
            lane: request.lane,
            noticed_at: request.noticed_at,
            changed_at: request.changed_at,
            request: cause.to_owned(),
            fetch_version: FETCH_VERSION,
        },
        outcome: answer.outcome,
    };
    match Outgoing::new(&fetched) {
        Ok(message) => Outcome::Emit(vec![message]),
        Err(error) => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_that_splits() {
        async fn panics() -> Result<(), Error> {
            panic!("as a test does")
        }
        let error = caught(panics()).await.err();
        assert!(
            error
                .as_ref()
                .is_some_and(|error| error.class() == prmirror_github::Class::Split),
            "{error:?}"
        );
    }
}

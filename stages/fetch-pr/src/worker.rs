//! Documents, one after the other, for as long as there is anything to ask.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prmirror_github::{
    Ask, Asked, Class, Client, Error, KeyDataQuery, PullRequestAnswer, Said, Sizes,
};
use prmirror_kit::config::FetchConfig;
use prmirror_kit::{Outcome, Outgoing};
use prmirror_proto::messages::{ChangeRequest, FETCH_VERSION, Fetched, Provenance};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::attempts::{Pauses, most_nodes};
use crate::board::{Board, Bounds, Document, Ended, Item, Job, Next, Work};
use crate::kept::Kept;
use crate::records::{Records, Verdict};

/// What the workers share.
pub(crate) struct Shared {
    client: Client,
    config: FetchConfig,
    pauses: Pauses,
    records: Records,
    board: Mutex<Board>,
    kept: Mutex<Kept>,
    /// Something was put on the board.
    added: Notify,
}

/// How long a document waits to be filled while more requests are known to come.
const FILL: Duration = Duration::from_secs(2);

/// Documents that fail in a row before it is GitHub that has failed, and not what it was asked: more
/// than the attempts for one pull request.
const OUTAGE: u32 = 12;

/// Further pages of a pull request that may be asked for again before all of it is.
const PAGE_RETRIES: u32 = 20;

/// Nodes of each list of a stubborn pull request that are asked for at once.
const STUBBORN_PAGE: u32 = 10;

impl Shared {
    pub(crate) fn new(client: Client, config: FetchConfig, records: Records) -> Self {
        Self {
            client,
            config,
            pauses: Pauses::default(),
            records,
            board: Mutex::default(),
            kept: Mutex::default(),
            added: Notify::new(),
        }
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
    /// is there, or it failed. `more` requests are known to come.
    pub(crate) fn fetch(
        &self,
        request: ChangeRequest,
        cause: String,
        failures: u32,
        more: bool,
    ) -> oneshot::Receiver<Ended> {
        let (done, ended) = oneshot::channel();
        let stubborn = failures >= self.config.max_attempts;
        let kept = self.kept().take(&request, &cause);
        let work = kept.unwrap_or_else(|| Work::new(self.whole(&request, failures)));
        let job = Job {
            request: Arc::new(request),
            cause,
            done,
            failures,
            stubborn,
            work,
        };
        let now = Instant::now();
        let mut board = self.board();
        if let Some(left) = board.shut_for(&job.request.repository, now) {
            drop(board);
            self.put_off(
                job,
                self.spread(left),
                "nothing of its repository is fetched for now",
            );
            return ended;
        }
        board.add(job, more, now);
        drop(board);
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
            let asks: Vec<Ask> = document.items.iter().map(|item| item.ask.clone()).collect();
            let asked = self
                .client
                .ask(
                    &document.repository,
                    document.lane,
                    &asks,
                    self.config.thread_comments,
                )
                .await;
            match asked {
                Ok(asked) => self.heard(&document, asked).await,
                Err(error) => self.failed_whole(&document, &error).await,
            }
            // What follows from the answer may be enough for another worker too.
            self.added.notify_one();
        }
    }

    /// GitHub answered a document.
    async fn heard(&self, document: &Document, asked: Asked) {
        self.board().answered(document, asked.elapsed());
        let received_at = asked.received_at;
        let mut forbidden = None;
        let mut is_answered = false;
        for (item, said) in document.items.iter().zip(asked.said) {
            match said {
                Ok(said) => {
                    is_answered = true;
                    self.said(document, item, said, received_at);
                }
                Err(error @ Error::Forbidden { .. }) => {
                    forbidden.get_or_insert((Vec::new(), error)).0.push(item);
                }
                Err(error) => self.failed(document, item, &error),
            }
        }
        if let Some((items, error)) = forbidden {
            // Of one pull request among others, it is about that one.
            if is_answered || !self.is_forbidden(document, &error).await {
                for item in items {
                    self.failed(document, item, &error);
                }
            }
        }
        if is_answered {
            self.records.unpark(&document.repository).await;
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

    fn said(&self, document: &Document, item: &Item, said: Said, received_at: jiff::Timestamp) {
        let mut board = self.board();
        let Some(job) = board.job(item.job) else {
            return;
        };
        let stubborn = job.stubborn;
        let work = &mut job.work;
        let more = match said {
            Said::PullRequest { answer, more } => {
                work.answer = Some(answer);
                more
            }
            Said::Page { page, more } => {
                if let Some(answer) = &mut work.answer {
                    answer.add(page, received_at);
                }
                more
            }
        };
        let items: Vec<Item> = more
            .into_iter()
            .map(|page| {
                let ask = Ask::Page(if stubborn {
                    page.at_most(STUBBORN_PAGE)
                } else {
                    page
                });
                Item {
                    job: item.job,
                    question: work.ask(ask.clone()),
                    ask,
                }
            })
            .collect();
        if stubborn {
            for one in items {
                board.ask_apart(document, vec![one], Instant::now());
            }
        } else {
            board.go_on(document, items, Instant::now());
        }
        self.answered(&mut board, item);
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
            let outcome = outcome_of(&job.request, &job.cause, job.work.answer);
            end(job.done, outcome, Verdict::Settled);
        }
    }

    /// A document failed as a whole.
    async fn failed_whole(&self, document: &Document, error: &Error) {
        let class = error.class();
        let in_a_row = match class {
            Class::Split | Class::Retry => self.board().failed(document),
            Class::Wait(_) | Class::Operator => 0,
        };
        match class {
            Class::Split | Class::Retry
                if in_a_row >= OUTAGE && !self.is_answered(document).await =>
            {
                let pause = self.pauses.after(in_a_row - OUTAGE + 4);
                tracing::warn!(
                    repository = %document.repository, in_a_row, ?pause, %error,
                    "nothing is answered; what is asked of the repository is put off"
                );
                let why = format!("{in_a_row} documents failed in a row; the last: {error}");
                self.shut(document, pause, &why);
            }
            Class::Operator if self.is_forbidden(document, error).await => {}
            Class::Split => self.split(document, error),
            // Of one pull request: which?
            Class::Operator if matches!(error, Error::Forbidden { .. }) => {
                self.split(document, error);
            }
            Class::Retry | Class::Wait(_) | Class::Operator => {
                for item in &document.items {
                    self.failed(document, item, error);
                }
            }
        }
    }

    /// A document failed because of something in it, which fails when it is alone.
    fn split(&self, document: &Document, error: &Error) {
        if let [item] = document.items.as_slice() {
            self.failed(document, item, error);
            return;
        }
        tracing::info!(
            questions = document.items.len(), code = error.code(), %error,
            "a document failed; asking for its halves"
        );
        let mut board = self.board();
        let (left, right) = document.items.split_at(document.items.len() / 2);
        for half in [left, right] {
            board.ask_apart(document, half.to_vec(), Instant::now());
        }
    }

    /// Whether GitHub answers something easy about the repository: then what failed is to blame. Costs
    /// a point.
    async fn is_answered(&self, document: &Document) -> bool {
        let answer = self.easy(document).await;
        if answer.is_ok() {
            self.board().is_answered(document);
        }
        answer.is_ok()
    }

    async fn easy(&self, document: &Document) -> Result<(), Error> {
        let easy = KeyDataQuery::Updated;
        let repository = &document.repository;
        let answer = self.client.key_data(repository, easy, 1, None).await;
        answer.map(|_| ())
    }

    /// Whether the token may see nothing of the repository, and not only of what was asked: then it is
    /// parked. Costs a point.
    async fn is_forbidden(&self, document: &Document, error: &Error) -> bool {
        if !matches!(error, Error::Forbidden { .. }) {
            return false;
        }
        let Err(error @ Error::Forbidden { .. }) = self.easy(document).await else {
            return false;
        };
        let pause = self.records.park(&document.repository, &error).await;
        self.shut(document, pause, &error.to_string());
        true
    }

    /// Nothing of the repository is asked for so long.
    fn shut(&self, document: &Document, pause: Duration, why: &str) {
        let until = Instant::now() + pause;
        let jobs = self.board().shut(&document.repository, until);
        for job in jobs {
            self.put_off(job, self.spread(pause), why);
        }
    }

    /// A pause that does not end for all at the very same moment.
    fn spread(&self, pause: Duration) -> Duration {
        pause + self.pauses.after(1) / 4
    }

    /// Gives a job back through no fault of its own. What was read of it is kept.
    fn put_off(&self, job: Job, pause: Duration, why: &str) {
        self.kept().put(&job.request, &job.cause, job.work, pause);
        let outcome = Outcome::Retry {
            after: pause,
            reason: why.to_owned(),
        };
        end(job.done, outcome, Verdict::Unknown);
    }

    /// A question failed: it is asked in a smaller form, or its pull request has failed.
    fn failed(&self, document: &Document, item: &Item, error: &Error) {
        let mut board = self.board();
        let Some(job) = board.job(item.job) else {
            return;
        };
        if error.class() == Class::Retry
            && matches!(item.ask, Ask::Page(_))
            && !matches!(error, Error::Moved(_))
            && job.work.page_retries < PAGE_RETRIES
        {
            // What was read before it is not lost for it.
            job.work.page_retries += 1;
            board.ask_apart(document, vec![item.clone()], Instant::now());
            return;
        }
        if let (Class::Split, Ask::Page(page)) = (error.class(), &item.ask) {
            if let Some(page) = page.smaller() {
                let smaller = Item {
                    ask: Ask::Page(page),
                    ..item.clone()
                };
                job.work.open.insert(item.question, smaller.ask.clone());
                board.ask_apart(document, vec![smaller], Instant::now());
                return;
            }
            if job.stubborn {
                tracing::info!(
                    repository = %job.request.repository, number = job.request.number,
                    list = ?page.connection, %error,
                    "a list of a stubborn pull request is left out"
                );
                self.answered(&mut board, item);
                return;
            }
        }
        if let Some(job) = board.remove(item.job) {
            drop(board);
            self.failed_job(job, error);
        }
    }

    /// What becomes of a pull request that failed.
    fn failed_job(&self, job: Job, error: &Error) {
        let reason = error.to_string();
        let (outcome, verdict) = match error.class() {
            Class::Wait(pause) => return self.put_off(job, self.spread(pause), &reason),
            // A token can be replaced while everything waits.
            Class::Operator if matches!(error, Error::Unauthorized { .. }) => {
                return self.put_off(job, Duration::from_secs(30), &reason);
            }
            // Nothing was wrong with this pull request: it keeps its good name.
            Class::Retry => {
                let after = self.pauses.after(2);
                (Outcome::Retry { after, reason }, Verdict::Unknown)
            }
            Class::Split if job.stubborn => {
                let reason = format!(
                    "{} attempts failed, the last of them for its header alone: {reason}",
                    job.failures + 1
                );
                let code = error.code().to_owned();
                (Outcome::Park { code, reason }, Verdict::Settled)
            }
            Class::Split => {
                let pause = self.pauses.after(job.failures + 1);
                let verdict = Verdict::Failed {
                    code: error.code(),
                    error: reason.clone(),
                    pause,
                };
                let after = pause;
                (Outcome::Retry { after, reason }, verdict)
            }
            Class::Operator => {
                let code = error.code().to_owned();
                (Outcome::Park { code, reason }, Verdict::Settled)
            }
        };
        end(job.done, outcome, verdict);
    }
}

/// Tells whoever waits. They may be gone; the message then comes again.
fn end(done: oneshot::Sender<Ended>, outcome: Outcome, verdict: Verdict) {
    let _ = done.send(Ended { outcome, verdict });
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

//! Documents, one after the other, for as long as there is anything to ask.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prmirror_github::{Ask, Class, Client, Error, KeyDataQuery, Said, Sizes};
use prmirror_kit::config::FetchConfig;
use prmirror_kit::{Outcome, Outgoing};
use prmirror_proto::messages::{ChangeRequest, FETCH_VERSION, Fetched, Provenance};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::attempts::{Attempts, most_nodes};
use crate::board::{Board, Bounds, Document, Item, Job, Next};

/// What the workers share.
pub(crate) struct Shared {
    client: Client,
    config: FetchConfig,
    attempts: Attempts,
    board: Mutex<Board>,
    /// Something was put on the board.
    added: Notify,
}

/// How long a document waits to be filled while more requests are known to come.
const FILL: Duration = Duration::from_secs(1);

/// Documents that fail in a row before it is GitHub that has failed, and not what it was asked: more
/// than the attempts for one pull request.
const OUTAGE: u32 = 12;

/// Further pages of a pull request that may be asked for again before all of it is.
const PAGE_RETRIES: u32 = 20;

/// Nodes of each list of a stubborn pull request that are asked for at once.
const STUBBORN_PAGE: u32 = 10;

impl Shared {
    pub(crate) fn new(client: Client, config: FetchConfig) -> Self {
        Self {
            client,
            config,
            attempts: Attempts::default(),
            board: Mutex::default(),
            added: Notify::new(),
        }
    }

    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a pull request on the board. The outcome comes when the whole of it is there, or it failed.
    /// `more` requests are known to come.
    pub(crate) fn fetch(
        &self,
        request: ChangeRequest,
        cause: String,
        more: bool,
    ) -> oneshot::Receiver<Outcome> {
        let (done, outcome) = oneshot::channel();
        let failures = self.attempts.count(&name(&request));
        let stubborn = failures >= self.config.max_attempts;
        let page = self.config.page.clamp(1, 100);
        let sizes = match &request.seen {
            _ if stubborn => Sizes::HEADER,
            Some(seen) if failures == 0 => Sizes::seen(seen),
            Some(seen) => Sizes::seen(seen).at_most(most_nodes(page, failures)),
            None => Sizes::unknown().at_most(most_nodes(page, failures)),
        };
        let ask = Ask::PullRequest {
            number: request.number,
            id: request.id.clone(),
            sizes,
        };
        let job = Job {
            request: Arc::new(request),
            cause,
            done,
            answer: None,
            open: 1,
            page_retries: 0,
            suspect: failures > 0,
            stubborn,
        };
        self.board().add(job, ask, more, Instant::now());
        self.added.notify_one();
        outcome
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
                Ok(asked) => {
                    self.board().answered(&document, asked.elapsed());
                    for (item, said) in document.items.iter().zip(asked.said) {
                        match said {
                            Ok(said) => self.said(&document, item, said, asked.received_at),
                            Err(error) => self.failed(&document, item, &error),
                        }
                    }
                }
                Err(error) => {
                    let in_a_row = self.board().failed(&document);
                    let suspicious =
                        in_a_row >= OUTAGE && matches!(error.class(), Class::Split | Class::Retry);
                    if suspicious && !self.is_answered(&document).await {
                        self.put_off(&document, in_a_row, &error);
                    } else {
                        self.failed_whole(&document, &error);
                    }
                }
            }
            // What follows from the answer may be enough for another worker too.
            self.added.notify_one();
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
        let more = match said {
            Said::PullRequest { answer, more } => {
                job.answer = Some(answer);
                more
            }
            Said::Page { page, more } => {
                if let Some(answer) = &mut job.answer {
                    answer.add(page, received_at);
                }
                more
            }
        };
        job.open += more.len();
        let stubborn = job.stubborn;
        let items: Vec<Item> = more
            .into_iter()
            .map(|page| Item {
                job: item.job,
                ask: Ask::Page(if stubborn {
                    page.at_most(STUBBORN_PAGE)
                } else {
                    page
                }),
            })
            .collect();
        if stubborn {
            for one in items {
                board.ask_apart(document, vec![one], Instant::now());
            }
        } else {
            board.go_on(document, items, Instant::now());
        }
        self.answered(&mut board, item.job);
    }

    /// One question less; with the last one the pull request is whole.
    fn answered(&self, board: &mut Board, id: u64) {
        let Some(job) = board.job(id) else { return };
        job.open -= 1;
        if job.open > 0 {
            return;
        }
        if let Some(job) = board.remove(id) {
            self.attempts.settled(&name(&job.request));
            finish(job);
        }
    }

    /// A document failed as a whole.
    fn failed_whole(&self, document: &Document, error: &Error) {
        if error.class() == Class::Split && document.items.len() > 1 {
            tracing::info!(
                questions = document.items.len(), code = error.code(), %error,
                "a document failed; asking for its halves"
            );
            let mut board = self.board();
            let (left, right) = document.items.split_at(document.items.len() / 2);
            for half in [left, right] {
                board.ask_apart(document, half.to_vec(), Instant::now());
            }
            return;
        }
        for item in &document.items {
            self.failed(document, item, error);
        }
    }

    /// Whether GitHub answers something easy about the repository: then what failed is to blame. Costs
    /// a point.
    async fn is_answered(&self, document: &Document) -> bool {
        let easy = KeyDataQuery::Updated;
        let answer = self
            .client
            .key_data(&document.repository, easy, 1, None)
            .await;
        if answer.is_ok() {
            self.board().is_answered(document);
        }
        answer.is_ok()
    }

    /// GitHub answers nothing about this repository: that is no fault of what is asked.
    fn put_off(&self, document: &Document, in_a_row: u32, error: &Error) {
        let pause = self.attempts.pause(in_a_row - OUTAGE + 4);
        tracing::warn!(
            repository = %document.repository, in_a_row, ?pause, %error,
            "nothing is answered; what was asked is put off"
        );
        let mut board = self.board();
        for item in &document.items {
            if let Some(job) = board.remove(item.job) {
                // Whoever waited may be gone; the message then comes again.
                let _ = job.done.send(Outcome::Retry {
                    after: pause,
                    reason: format!("{in_a_row} documents failed in a row; the last: {error}"),
                });
            }
        }
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
            && job.page_retries < PAGE_RETRIES
        {
            // What was read before it is not lost for it.
            job.page_retries += 1;
            board.ask_apart(document, vec![item.clone()], Instant::now());
            return;
        }
        if let (Class::Split, Ask::Page(page)) = (error.class(), &item.ask) {
            if let Some(page) = page.smaller() {
                let smaller = Item {
                    job: item.job,
                    ask: Ask::Page(page),
                };
                board.ask_apart(document, vec![smaller], Instant::now());
                return;
            }
            if job.stubborn {
                tracing::info!(
                    repository = %job.request.repository, number = job.request.number,
                    list = ?page.connection, %error,
                    "a list of a stubborn pull request is left out"
                );
                self.answered(&mut board, item.job);
                return;
            }
        }
        if let Some(job) = board.remove(item.job) {
            let outcome = self.outcome_of(&job, error);
            // Whoever waited may be gone; the message then comes again.
            let _ = job.done.send(outcome);
        }
    }

    /// What becomes of a pull request that failed.
    fn outcome_of(&self, job: &Job, error: &Error) -> Outcome {
        let reason = error.to_string();
        let name = name(&job.request);
        match error.class() {
            Class::Wait(pause) => Outcome::Retry {
                // Not all at the very moment at which the limit ends.
                after: pause + self.attempts.pause(1) / 4,
                reason,
            },
            // Nothing was wrong with this pull request: it keeps its good name.
            Class::Retry => Outcome::Retry {
                after: self.attempts.pause(2),
                reason,
            },
            Class::Split => {
                let failures = self.attempts.failed(&name);
                if job.stubborn {
                    self.attempts.settled(&name);
                    return Outcome::Park {
                        code: error.code().to_owned(),
                        reason: format!(
                            "{failures} attempts failed, the last of them for its header alone: {reason}"
                        ),
                    };
                }
                Outcome::Retry {
                    after: self.attempts.pause(failures),
                    reason,
                }
            }
            // A token can be replaced while everything waits.
            Class::Operator if matches!(error, Error::Unauthorized { .. }) => Outcome::Retry {
                after: Duration::from_secs(30),
                reason,
            },
            Class::Operator => Outcome::Park {
                code: error.code().to_owned(),
                reason,
            },
        }
    }
}

fn finish(job: Job) {
    let request = &job.request;
    let outcome = match job.answer {
        Some(answer) => {
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
                    request: job.cause,
                    fetch_version: FETCH_VERSION,
                },
                outcome: answer.outcome,
            };
            match Outgoing::new(&fetched) {
                Ok(message) => Outcome::Emit(vec![message]),
                Err(error) => error.into(),
            }
        }
        None => Outcome::Retry {
            after: Duration::from_secs(1),
            reason: "nothing was answered".to_owned(),
        },
    };
    // Whoever waited may be gone; the message then comes again.
    let _ = job.done.send(outcome);
}

fn name(request: &ChangeRequest) -> String {
    format!("{}#{}", request.repository, request.number)
}

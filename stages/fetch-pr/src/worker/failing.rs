//! What follows when GitHub does not answer, or not with what was asked for.

use std::sync::Arc;
use std::time::Duration;

use prmirror_github::{Ask, Class, Error, KeyDataQuery, Why};
use prmirror_kit::Outcome;
use prmirror_proto::RepositoryName;
use tokio::time::Instant;

use super::Shared;
use crate::attempts::AGAIN;
use crate::board::{Document, Item};
use crate::job::{Ended, Job, LeftOut};
use crate::records::Verdict;

/// Documents that fail in a row before it is GitHub that has failed, and not what it was asked: more
/// than the attempts for one pull request.
const OUTAGE: u32 = 12;

/// Further pages of a pull request that may be asked for again before all of it is.
const PAGE_RETRIES: u32 = 20;

/// The last pause, as a number of failures, after a document that failed as a whole: whoever is in it waits
/// for what may be another's failure.
pub const LONGEST_SPLIT: u32 = 3;

/// What is shown of a repository.
pub(super) enum Seen {
    /// Something.
    Shown,
    /// Nothing to this token; it is parked.
    Hidden,
    /// GitHub did not say.
    Unknown(Error),
}

impl Shared {
    /// A document failed as a whole.
    pub(super) async fn failed_whole(&self, document: &Document, error: Error) {
        let class = error.class();
        let in_a_row = match class {
            Class::Split | Class::Retry => self.board().failed(document, error.may_be_weight()),
            Class::Wait(_) | Class::Operator => 0,
        };
        let may_be_hidden = matches!(error, Error::Forbidden { .. } | Error::NotFound(_));
        match class {
            Class::Split | Class::Retry
                if in_a_row >= OUTAGE && !self.is_answered(document).await =>
            {
                let unanswered = Why::Unanswered {
                    failures: in_a_row,
                    error: &error,
                };
                let pause = self.parking.park(&document.repository, unanswered).await;
                let why = format!("{in_a_row} documents failed in a row; the last: {error}");
                self.shut(document, pause, &why);
            }
            Class::Operator if may_be_hidden => match self.look_at_repository(document).await {
                Seen::Hidden => {}
                // Of one pull request: which?
                Seen::Shown => self.split(document, &error, 1),
                Seen::Unknown(other) => {
                    for item in &document.items {
                        self.put_off_item(item, AGAIN.after(3), &other.to_string());
                    }
                }
            },
            Class::Split => self.split(document, &error, in_a_row),
            Class::Retry | Class::Wait(_) | Class::Operator => {
                for item in &document.items {
                    self.failed(document, item, &error, in_a_row);
                }
            }
        }
    }

    /// A document failed because of something in it, which fails when it is alone. When it is not the
    /// first in a row it may be a bad moment, too: then its halves wait a little.
    fn split(&self, document: &Document, error: &Error, in_a_row: u32) {
        if let [item] = document.items.as_slice() {
            self.failed(document, item, error, in_a_row);
            return;
        }
        let pause = match in_a_row {
            0 | 1 => Duration::ZERO,
            more => AGAIN.after((more - 1).min(LONGEST_SPLIT)),
        };
        tracing::info!(
            questions = document.items.len(), code = error.code(), %error,
            "a document failed; asking for its halves"
        );
        let mut board = self.board();
        let (left, right) = document.items.split_at(document.items.len() / 2);
        for half in [left, right] {
            board.ask_apart(document, half.to_vec(), pause, Instant::now());
        }
    }

    /// Whether GitHub answers something easy about the repository: then what failed is to blame. Costs
    /// a point.
    async fn is_answered(&self, document: &Document) -> bool {
        let answer = self.easy(document).await;
        if answer.is_ok() {
            self.board().is_answered(document);
            self.parking.unpark(&document.repository).await;
        }
        match &answer {
            Ok(()) => true,
            // A limit, or a token that is refused, is no outage: the next document meets it and waits.
            Err(error) => {
                matches!(error.class(), Class::Wait(_))
                    || matches!(error, Error::Unauthorized { .. })
            }
        }
    }

    async fn easy(&self, document: &Document) -> Result<(), Error> {
        let easy = KeyDataQuery::Updated;
        let repository = &document.repository;
        let answer = self.client.key_data(repository, easy, 1, None).await;
        answer.map(|_| ())
    }

    /// Whether the token is shown anything of the repository, and not only nothing of what was asked: if
    /// not, the repository is parked. GitHub says of what a token may not see that it does not exist, so
    /// this must be known before anything is believed to be gone. Costs a point.
    pub(super) async fn look_at_repository(&self, document: &Document) -> Seen {
        match self.easy(document).await {
            Ok(()) => Seen::Shown,
            Err(error @ (Error::Forbidden { .. } | Error::NotFound(_))) => {
                let hidden = Why::Hidden(&error);
                let pause = self.parking.park(&document.repository, hidden).await;
                self.shut(document, pause, &error.to_string());
                Seen::Hidden
            }
            Err(error) => Seen::Unknown(error),
        }
    }

    /// Nothing of the repository is asked for so long.
    fn shut(&self, document: &Document, pause: Duration, why: &str) {
        let until = Instant::now() + pause;
        let jobs = self.board().shut(&document.repository, until);
        for job in jobs {
            self.put_off(job, self.spread(pause), why);
        }
    }

    /// How long a request waits because nothing of its repository is fetched, and why.
    pub(crate) async fn left_out(&self, repository: &RepositoryName) -> Option<(Duration, String)> {
        if let Some((left, parked)) = self.parking.remaining(repository).await {
            let why = format!("its repository is parked until {}", parked.until);
            return Some((self.spread(left), why));
        }
        // Only the record tells: it may have been struck out by hand.
        let failures = self.parking.parked(repository).await;
        let failures = failures.map_or(0, |parked| parked.failures);
        self.board().open(repository, failures, Instant::now());
        None
    }

    /// A pause that does not end for all at the very same moment.
    fn spread(&self, pause: Duration) -> Duration {
        pause + AGAIN.after(1) / 4
    }

    /// Gives a job back through no fault of its own. What was read of it is kept.
    fn put_off(&self, job: Job, pause: Duration, why: &str) {
        let ended = Ended {
            outcome: Outcome::Retry {
                after: pause,
                reason: why.to_owned(),
            },
            verdict: Verdict::Unknown,
            steps: job.work.steps,
            goes_on: true,
        };
        self.kept().put(&job.request, &job.cause, job.work, pause);
        self.tell(job.sequence, job.done, ended);
    }

    /// Gives everything back, for other processes to take, of which nothing is under way.
    pub(super) fn give_back(&self) {
        let jobs = self.board().take_waiting();
        for job in jobs {
            self.put_off(job, Duration::ZERO, "this process ends");
        }
    }

    /// The same at the shutdown, whatever the workers wait for then.
    pub(crate) async fn give_back_at_the_end(self: Arc<Self>) {
        self.shutdown.cancelled().await;
        self.give_back();
    }

    /// Gives the job of a question back, as [`Self::put_off`].
    pub(super) fn put_off_item(&self, item: &Item, pause: Duration, why: &str) {
        let job = self.board().remove(item.job);
        if let Some(job) = job {
            self.put_off(job, pause, why);
        }
    }

    /// A question failed: it is asked in a smaller form, or its pull request has failed. So many
    /// documents have failed in a row.
    pub(super) fn failed(&self, document: &Document, item: &Item, error: &Error, in_a_row: u32) {
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
            let pause = AGAIN.after(job.work.page_retries.min(LONGEST_SPLIT));
            board.ask_apart(document, vec![item.clone()], pause, Instant::now());
            return;
        }
        if let (Class::Split, Ask::Page(page)) = (error.class(), &item.ask) {
            if let Some(page) = page.smaller() {
                let smaller = Item {
                    ask: Ask::Page(page),
                    ..item.clone()
                };
                job.work.open.insert(item.question, smaller.ask.clone());
                let pause = if job.stubborn {
                    job.work.page_retries += 1;
                    AGAIN.after(job.work.page_retries.min(LONGEST_SPLIT))
                } else {
                    Duration::ZERO
                };
                board.ask_apart(document, vec![smaller], pause, Instant::now());
                return;
            }
            if job.stubborn {
                tracing::info!(
                    repository = %job.request.repository, number = job.request.number,
                    list = ?page.connection, %error,
                    "a list of a stubborn pull request is left out"
                );
                job.work.left_out.push(LeftOut {
                    code: error.code(),
                    error: error.to_string(),
                });
                self.answered(&mut board, item);
                return;
            }
        }
        if let Some(job) = board.remove(item.job) {
            drop(board);
            self.failed_job(job, error, in_a_row);
        }
    }

    /// What becomes of a pull request that failed.
    fn failed_job(&self, job: Job, error: &Error, in_a_row: u32) {
        let reason = error.to_string();
        let (outcome, verdict) = match error.class() {
            Class::Wait(pause) => return self.put_off(job, self.spread(pause), &reason),
            // A token can be replaced while everything waits.
            Class::Operator if matches!(error, Error::Unauthorized { .. }) => {
                return self.put_off(job, Duration::from_secs(30), &reason);
            }
            // Nothing was wrong with this pull request: it keeps its good name.
            Class::Retry => {
                let after = AGAIN.after(in_a_row.min(LONGEST_SPLIT));
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
                let pause = AGAIN.after(job.failures + 1);
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
        self.end(job, outcome, verdict);
    }
}

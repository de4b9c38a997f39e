//! Documents, one after the other, for as long as there is anything to ask.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use prmirror_github::{
    Ask, Asked, Class, Client, Error, KeyDataQuery, PageAsk, Parking, PullRequestAnswer, Said,
    Sizes, Why,
};
use prmirror_kit::config::{FetchConfig, Repository};
use prmirror_kit::{Outcome, Outgoing};
use prmirror_proto::RepositoryName;
use prmirror_proto::messages::{ChangeRequest, FETCH_VERSION, Fetched, Provenance};
use prmirror_proto::state::Stubborn;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::attempts::{AGAIN, LEFT_ALONE, most_nodes};
use crate::board::{Board, Bounds, Document, Ended, Item, Job, LeftOut, Next, Work};
use crate::kept::Kept;
use crate::pages::{Pages, Part, Step, identity};
use crate::records::{Records, Verdict};
use crate::unsettled::Unsettled;

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
}

/// How long a document waits to be filled while more requests are known to come.
const FILL: Duration = Duration::from_secs(2);

/// Documents that fail in a row before it is GitHub that has failed, and not what it was asked: more
/// than the attempts for one pull request.
const OUTAGE: u32 = 12;

/// How long the broker may take for what a document brought before the next is sent in any case.
const PATIENCE: Duration = Duration::from_secs(30);

/// Further pages of a pull request that may be asked for again before all of it is.
const PAGE_RETRIES: u32 = 20;

/// The last pause, as a number of failures, after a document that failed as a whole: whoever is in it waits
/// for what may be another's failure.
pub const LONGEST_SPLIT: u32 = 3;

/// What is shown of a repository.
enum Seen {
    /// Something.
    Shown,
    /// Nothing to this token; it is parked.
    Hidden,
    /// GitHub did not say.
    Unknown(Error),
}

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
        self.board().add(job, hand.more, Instant::now());
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
                Err(error) => self.failed_whole(&document, error).await,
            }
            // What follows from the answer may be enough for another worker too.
            self.added.notify_one();
            if self.in_step {
                self.unsettled.wait_at_most(PATIENCE).await;
            }
        }
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

    /// A document failed as a whole.
    async fn failed_whole(&self, document: &Document, error: Error) {
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
    async fn look_at_repository(&self, document: &Document) -> Seen {
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

    /// Gives the job of a question back, as [`Self::put_off`].
    fn put_off_item(&self, item: &Item, pause: Duration, why: &str) {
        let job = self.board().remove(item.job);
        if let Some(job) = job {
            self.put_off(job, pause, why);
        }
    }

    /// A question failed: it is asked in a smaller form, or its pull request has failed. So many
    /// documents have failed in a row.
    fn failed(&self, document: &Document, item: &Item, error: &Error, in_a_row: u32) {
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

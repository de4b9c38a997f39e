//! The backfill: every pull request once, oldest first, in chunks. Its state is in a KV bucket and
//! changes by compare-and-set; every change is reported for the tables before it counts, and that one has begun
//! once it has.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Duration;

use jiff::Timestamp;
use prmirror_github::{Class, Error, KeyDataQuery};
use prmirror_kit::{Backoff, KvError, Outgoing};
use prmirror_proto::messages::{BackfillReport, ChangeRequest, InventoryScope, Lane, Source};
use prmirror_proto::requests::BackfillOptions;
use prmirror_proto::state::{BackfillState, BackfillStatus, Chunk, ChunkMember, ChunkStatus};
use prmirror_proto::subjects::{
    BUCKET_STUBBORN, STREAM_CHANGES, Subject, repository_key, stubborn_key,
};

use crate::chunks::{self, Step};
use crate::detector::{Detector, Scan, Walk, WalkError};
use crate::mirror::{self, Told};
use crate::sizes::{self, Basis};

/// How often the chunks under way are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How long the state is believed not to change without a word.
const GLANCE: Duration = Duration::from_secs(5);

/// A chunk of which the tables do not know after so long is reported anew: the report was lost, with the tables or
/// by a broker whose disk was full.
const UNHEARD: Duration = Duration::from_secs(60);

/// A repository is not begun anew by itself less often than this, however often that did not help.
const SELDOM: Duration = Duration::from_secs(86_400);

/// A backfill from the first pull request on.
fn begin(now: Timestamp) -> BackfillState {
    let scan = Scan::begin(Source::Backfill, InventoryScope::All);
    BackfillState::new(scan.id, now)
}

/// The same in the place of another one.
fn anew(old: &BackfillState, options: &BackfillOptions, now: Timestamp) -> BackfillState {
    BackfillState {
        walks: old.walks,
        millis_each: old.millis_each,
        chunk_size: options.chunk_size,
        max_chunks: options.max_chunks,
        ..begin(now)
    }
}

/// Whether a chunk was handed on so long ago.
fn is_older(chunk: &Chunk, age: Duration, now: Timestamp) -> bool {
    let started_at = chunk.started_at;
    started_at.is_some_and(|at| chunks::after(at, age) <= now)
}

/// What a change is to be reported as: the newer state with the chunks that are not as they were.
fn difference(old: &BackfillState, new: &BackfillState) -> BackfillState {
    let mut report = new.clone();
    report.chunks.retain(|chunk| !old.chunks.contains(chunk));
    report
}

/// The last word about a backfill that another one takes the place of.
fn replaced(old: &BackfillState, now: Timestamp) -> BackfillState {
    let mut last = old.clone();
    last.status = BackfillStatus::Replaced;
    last.reason = Some("another one was started".to_owned());
    for chunk in &mut last.chunks {
        chunk.status = ChunkStatus::Failed;
        chunk.completed_at = Some(now);
        chunk.error = Some("another backfill was started".to_owned());
    }
    last
}

impl Detector {
    /// Walks on from where it stands to the end; at once when it was there before.
    pub(crate) async fn backfill(&self) -> Result<(), WalkError> {
        let mut place = None;
        loop {
            let state = self.begun().await?;
            let now = Timestamp::now();
            match chunks::next(&state, now) {
                Step::None => {
                    let walks = state.walks.max(1);
                    self.walks.send_if_modified(|known| {
                        let more = *known < walks;
                        *known = walks.max(*known);
                        more
                    });
                    return Ok(());
                }
                Step::Rest(until) => {
                    place = None;
                    self.rest(until, now).await?;
                }
                Step::Begin => {
                    self.change(|state| chunks::begin_run(state, now)).await?;
                }
                // Nothing of it is fetched, so nothing makes room: others have its place meanwhile.
                Step::HandOn | Step::List
                    if self.parking.remaining(&self.repository).await.is_some() =>
                {
                    place = None;
                    self.rest(None, now).await?;
                }
                step @ (Step::HandOn | Step::List) => {
                    let place = place.get_or_insert_with(|| self.turns.join(self.priority));
                    if !place.is_next() {
                        // Another goes first; it may take so long that somebody pauses this one.
                        self.until_turn(place).await?;
                        continue;
                    }
                    let Some(room) = self.room().await? else {
                        self.wait_a_moment().await?;
                        continue;
                    };
                    if step == Step::HandOn {
                        self.hand_on(&state, room).await?;
                    } else {
                        self.list(&state).await?;
                    }
                }
            }
        }
    }

    async fn until_turn(&self, place: &crate::turns::Place) -> Result<(), WalkError> {
        tokio::select! {
            () = place.turn() => Ok(()),
            () = tokio::time::sleep(GLANCE) => Ok(()),
            () = self.shutdown.cancelled() => Err(WalkError::Shutdown),
        }
    }

    /// Waits until a time, a nudge, or the next look at the state.
    async fn rest(&self, until: Option<Timestamp>, now: Timestamp) -> Result<(), WalkError> {
        let left = until.and_then(|until| Duration::try_from(until.duration_since(now)).ok());
        tokio::select! {
            () = tokio::time::sleep(left.unwrap_or(GLANCE).min(GLANCE)) => Ok(()),
            () = self.nudge.notified() => Ok(()),
            () = self.shutdown.cancelled() => Err(WalkError::Shutdown),
        }
    }

    /// The state, which is made when there is none.
    async fn begun(&self) -> Result<BackfillState, WalkError> {
        match self.backfill_state().await? {
            Some(state) => Ok(state),
            None => self.change(|_| ()).await,
        }
    }

    /// The state, if a backfill was ever begun.
    pub(crate) async fn backfill_state(&self) -> Result<Option<BackfillState>, WalkError> {
        let key = repository_key(&self.repository);
        let stored = self.backfills.get::<BackfillState>(&key).await?;
        Ok(stored.map(|entry| entry.value))
    }

    /// Changes the state, whoever else does at the same time, and returns it.
    pub(crate) async fn change(
        &self,
        act: impl Fn(&mut BackfillState),
    ) -> Result<BackfillState, WalkError> {
        let key = repository_key(&self.repository);
        loop {
            let stored = self.backfills.get::<BackfillState>(&key).await?;
            let now = Timestamp::now();
            let (old, revision) = match stored {
                Some(entry) => (entry.value, Some(entry.revision)),
                None => (begin(now), None),
            };
            let mut new = old.clone();
            act(&mut new);
            chunks::settle(&mut new, now);
            if revision.is_some() && new == old {
                return Ok(old);
            }
            if old.scan != new.scan && old.status != BackfillStatus::Completed {
                self.report(replaced(&old, now), now).await?;
            }
            let report = difference(&old, &new);
            let begun = if revision.is_none() || old.scan != new.scan {
                Some(report)
            } else {
                // Before it counts: what is not reported is decided again, and then reported.
                self.report(report, now).await?;
                None
            };
            new.chunks.retain(|chunk| !chunk.status.is_closed());
            let written = match revision {
                Some(revision) => self.backfills.update(&key, &new, revision).await,
                None => self.backfills.create(&key, &new).await,
            };
            match written {
                Ok(_) => {
                    if let Some(report) = begun {
                        // Once it counts: of several that begin at once one does, and the tables must not wait for
                        // another. What is lost of this report the next one, of the first page, tells.
                        self.report(report, now).await?;
                    }
                    return Ok(new);
                }
                Err(KvError::Conflict { .. }) => {}
                Err(error @ (KvError::Value { .. } | KvError::Unavailable { .. })) => {
                    return Err(error.into());
                }
            }
        }
    }

    async fn report(&self, state: BackfillState, at: Timestamp) -> Result<(), WalkError> {
        let report = BackfillReport {
            repository: self.repository.clone(),
            at,
            state,
        };
        self.bus.publish(Outgoing::new(&report)?, None).await?;
        Ok(())
    }

    /// Lists a page: its pull requests become pending chunks, and the cursor moves, in one step.
    async fn list(&self, state: &BackfillState) -> Result<(), WalkError> {
        if state.pages == 0 {
            // The poll must know where it stands before the backfill begins: what changes meanwhile
            // is then seen by one of them.
            self.poll().await?;
        }
        let points_left = mirror::measured(&self.bus).await.points_left();
        let pace = mirror::pace(&self.bus, &self.repository).await;
        let known = Basis::of(state, &pace, points_left);
        let page = self
            .key_data(
                KeyDataQuery::Created,
                sizes::page(state, known.size(), self.config.backfill_page),
                state.cursor.as_deref(),
            )
            .await?;
        let size = known.with(&page).size();
        let scan = Scan {
            id: state.scan.clone(),
            source: Source::Backfill,
            scope: InventoryScope::All,
            started_at: state.started_at,
        };
        let last = page.next.is_none();
        let inventory = scan.page(&self.repository, state.pages, last, page.clone());
        self.record(&inventory).await?;
        self.listed.keep(&page.entries);
        let listed = self
            .change(|now| {
                // Somebody may have started another one meanwhile.
                if now.scan == state.scan && now.pages == state.pages {
                    chunks::listed(now, &page, size);
                }
            })
            .await?;
        tracing::info!(
            repository = %self.repository,
            processed = listed.processed, total = listed.total, chunk_size = size,
            "backfill: a page was listed"
        );
        Ok(())
    }

    /// Hands on the chunks that are pending, as many as the run allows and there is room for.
    async fn hand_on(&self, state: &BackfillState, room: u64) -> Result<(), WalkError> {
        let chunks = chunks::allowed(state, room);
        let requests = chunks
            .iter()
            .flat_map(|chunk| self.requests(&state.scan, chunk, chunk.members.iter()))
            .collect();
        let now = Timestamp::now();
        self.request(requests).await?;
        let numbers: Vec<u32> = chunks.iter().map(|chunk| chunk.chunk).collect();
        let next_run = chunks::after(now, self.run_interval(state).await);
        self.change(|new| {
            if new.scan == state.scan {
                chunks::handed_on(new, &numbers, now, next_run);
            }
        })
        .await?;
        Ok(())
    }

    /// How long until the next run, if there is to be one.
    async fn run_interval(&self, state: &BackfillState) -> Duration {
        let points_left = match state.max_chunks {
            Some(_) => mirror::measured(&self.bus).await.points_left(),
            None => None,
        };
        chunks::interval(self.config.backfill_every, self.priority, points_left)
    }

    /// Requests for members of a chunk: the same ones, under the same ids, until it is handed on
    /// again.
    fn requests<'a>(
        &self,
        scan: &str,
        chunk: &Chunk,
        members: impl Iterator<Item = &'a ChunkMember>,
    ) -> Vec<ChangeRequest> {
        let now = Timestamp::now();
        members
            .map(|member| ChangeRequest {
                repository: self.repository.clone(),
                number: member.number,
                id: Some(member.id.clone()),
                lane: Lane::Bulk,
                source: Source::Backfill,
                basis: format!("{scan}:{}:{}", chunk.chunk, chunk.retries),
                reason: format!("chunk {} of {scan}", chunk.chunk),
                noticed_at: now,
                changed_at: Some(member.updated_at),
                not_before: None,
                urgent: false,
                // After a restart it is not known any more; the fetch then costs a little more.
                seen: self.listed.take(member.number),
            })
            .collect()
    }

    /// How many pull requests may be handed on now: the queue is for what is to be done soon, not a copy of
    /// the repository. None while it is full.
    async fn room(&self) -> Result<Option<u64>, WalkError> {
        // Of this repository alone: what waits of one that is parked keeps no other from being walked.
        let queue = mirror::queue_of(&self.repository);
        let pending = self.bus.queued_subjects(STREAM_CHANGES, &queue).await?;
        let waiting = pending.len() as u64;
        let share = self.turns.share(self.priority);
        // A job that is started now and then finds a queue that waits for it, however long.
        let each = if self.router.bulk_is_apart() {
            Some(Duration::ZERO)
        } else {
            self.pace.get(&self.bus, &self.repository).await.each
        };
        let longest = self.config.max_pending;
        let most = sizes::under_way(longest, each, share);
        let mut room = most.saturating_sub(waiting);
        if room == 0 && waiting < longest {
            // What failed is put off, for up to an hour, and keeps nothing else from being fetched.
            let failed = self.failed_of(&pending).await?;
            room = most.saturating_sub(waiting.saturating_sub(failed));
            room = room.min(longest - waiting);
        }
        Ok(Some(room).filter(|room| *room > 0))
    }

    /// How many of these requests are about pull requests that could not be fetched the last time.
    async fn failed_of(&self, subjects: &BTreeSet<String>) -> Result<u64, WalkError> {
        let keys = self.bus.kv(BUCKET_STUBBORN).await?.keys().await?;
        let keys: HashSet<String> = keys.into_iter().collect();
        let failed = subjects.iter().filter(|subject| {
            let number = subject.parse::<Subject>().ok().and_then(|s| s.number());
            number.is_some_and(|number| keys.contains(&stubborn_key(&self.repository, number)))
        });
        Ok(failed.count() as u64)
    }

    /// Keeps the reason of a failure where it is looked for. A failure to do so is not worth a word:
    /// the walk is tried again in any case.
    pub(crate) async fn note_failure(&self, walk: Walk, error: &WalkError, pause: Duration) {
        let WalkError::GitHub(error) = error else {
            return;
        };
        let now = Timestamp::now();
        let noted = self.change(|state| self.failed(state, walk, error, pause, now));
        if let Err(error) = noted.await {
            tracing::debug!(%error, "the failure could not be noted");
        }
    }

    fn failed(
        &self,
        state: &mut BackfillState,
        walk: Walk,
        error: &Error,
        pause: Duration,
        now: Timestamp,
    ) {
        let goes_on = match state.status {
            BackfillStatus::Active | BackfillStatus::RateLimitLow | BackfillStatus::Failed => true,
            BackfillStatus::Paused | BackfillStatus::Completed | BackfillStatus::Replaced => false,
        };
        if !goes_on || state.is_walked() {
            return;
        }
        let own = walk == Walk::Backfill;
        match error.class() {
            Class::Wait(_) if own => {
                state.status = BackfillStatus::RateLimitLow;
                state.reason = Some(error.to_string());
                state.resume_at = Some(chunks::after(now, pause));
            }
            // Whoever met it: without a token, or a repository, nothing goes on.
            Class::Operator => {
                state.status = BackfillStatus::Failed;
                state.consecutive_errors = state.consecutive_errors.saturating_add(1);
                state.reason = Some(error.code().to_owned());
                state.last_error = Some(error.to_string());
            }
            Class::Retry | Class::Split if own => {
                state.consecutive_errors = state.consecutive_errors.saturating_add(1);
                state.last_error = Some(error.to_string());
                if state.consecutive_errors >= self.config.backfill_errors {
                    let rest = chunks::interval(self.config.backfill_every, self.priority, None);
                    state.status = BackfillStatus::Paused;
                    state.resume_at = Some(chunks::after(now, rest));
                    state.reason = Some(format!(
                        "{} errors in a row, the last: {error}",
                        state.consecutive_errors
                    ));
                }
            }
            Class::Wait(_) | Class::Retry | Class::Split => {}
        }
    }

    /// Looks after the chunks under way, and after a repository of which too much is missing.
    pub(crate) async fn look_after(&self) {
        let mut glanced = tokio::time::Instant::now();
        while !self.shutdown.is_cancelled() {
            self.sleep(LOOK).await;
            if let Err(error) = self.look_after_chunks().await {
                tracing::debug!(repository = %self.repository, "backfill: {error}");
            }
            if glanced.elapsed() < self.config.backfill_every.min(Duration::from_secs(60)) {
                continue;
            }
            glanced = tokio::time::Instant::now();
            if let Err(error) = self.select().await {
                tracing::debug!(repository = %self.repository, "backfill: {error}");
            }
        }
    }

    /// Finds out which chunks are done with, and asks again for what was lost of others.
    async fn look_after_chunks(&self) -> Result<(), WalkError> {
        let Some(state) = self.backfill_state().await? else {
            return Ok(());
        };
        let under_way = |chunk: &&Chunk| chunk.status == ChunkStatus::Processing;
        let open: Vec<&Chunk> = state.chunks.iter().filter(under_way).collect();
        if open.is_empty() {
            return Ok(());
        }
        let told = mirror::outstanding(&self.bus, &self.repository, &state.scan).await;
        let Some(told) = told else {
            return Ok(());
        };
        let now = Timestamp::now();
        let done: Vec<u32> = open
            .iter()
            .map(|chunk| chunk.chunk)
            .filter(|chunk| told.get(chunk).is_some_and(Told::is_done))
            .collect();
        let stuck = self.stuck(&open, &told, now).await?;
        let again = stuck
            .iter()
            .filter(|(chunk, _)| chunk.retries < chunks::RETRIES);
        let requests = again
            .flat_map(|(chunk, lost)| {
                let members = chunk.members.iter();
                let next = Chunk {
                    retries: chunk.retries + 1,
                    ..(*chunk).clone()
                };
                self.requests(
                    &state.scan,
                    &next,
                    members.filter(|member| lost.contains(&member.number)),
                )
            })
            .collect();
        self.request(requests).await?;
        let unheard = UNHEARD.min(self.config.chunk_timeout);
        let unknown: Vec<u32> = open
            .iter()
            .filter(|chunk| !told.contains_key(&chunk.chunk) && is_older(chunk, unheard, now))
            .map(|chunk| chunk.chunk)
            .collect();
        if done.is_empty() && stuck.is_empty() && unknown.is_empty() {
            return Ok(());
        }
        self.change(|new| {
            if new.scan != state.scan {
                return;
            }
            for chunk in &done {
                let times = told.get(chunk).map_or((None, None), Told::times);
                chunks::completed(new, *chunk, times, now);
            }
            for (chunk, lost) in &stuck {
                chunks::stuck(new, chunk.chunk, lost, now);
            }
            for chunk in &mut new.chunks {
                if unknown.contains(&chunk.chunk) {
                    chunk.started_at = Some(now);
                }
            }
        })
        .await?;
        Ok(())
    }

    /// Whether a chunk has been under way for too long.
    fn is_late(&self, chunk: &Chunk, now: Timestamp) -> bool {
        is_older(chunk, self.config.chunk_timeout, now)
    }

    /// Chunks that have been under way for too long, with what is lost of them: what neither has
    /// landed nor is on its way.
    async fn stuck<'c>(
        &self,
        open: &[&'c Chunk],
        told: &BTreeMap<u32, Told>,
        now: Timestamp,
    ) -> Result<Vec<(&'c Chunk, Vec<u64>)>, WalkError> {
        let late = open.iter().copied().filter(|c| self.is_late(c, now));
        let late: Vec<&Chunk> = late.collect();
        if late.is_empty() {
            return Ok(Vec::new());
        }
        let under_way = mirror::under_way(&self.bus, &self.repository).await?;
        let lost = |chunk: &'c Chunk| {
            let outstanding = told.get(&chunk.chunk)?.outstanding.iter().copied();
            let lost: Vec<u64> = outstanding.filter(|n| !under_way.contains(n)).collect();
            (!lost.is_empty()).then_some((chunk, lost))
        };
        Ok(late.into_iter().filter_map(lost).collect())
    }

    /// Begins anew when too much of the repository is missing. What does not help is done more and
    /// more seldom.
    async fn select(&self) -> Result<(), WalkError> {
        let Some(state) = self.backfill_state().await? else {
            return Ok(());
        };
        let (BackfillStatus::Completed, Some(completed_at)) = (state.status, state.completed_at)
        else {
            return Ok(());
        };
        let points_left = mirror::measured(&self.bus).await.points_left();
        let every = chunks::interval(self.config.backfill_every, self.priority, points_left);
        let seldom = Backoff::new(every, SELDOM.max(every));
        let rest = seldom.nominal(state.selections.saturating_add(1));
        let now = Timestamp::now();
        if chunks::after(completed_at, rest) > now
            || !mirror::needs_backfill(&self.bus, &self.repository).await
        {
            return Ok(());
        }
        tracing::warn!(repository = %self.repository, "too much is missing: another backfill begins");
        let options = BackfillOptions {
            chunk_size: state.chunk_size,
            max_chunks: state.max_chunks,
        };
        self.change(|new| {
            if new.scan == state.scan {
                let selections = new.selections + 1;
                *new = anew(new, &options, now);
                new.selections = selections;
                new.reason = Some("too much was missing".to_owned());
            }
        })
        .await?;
        self.nudge.notify_one();
        Ok(())
    }

    /// Begins at the first pull request.
    pub(crate) async fn start(&self, options: &BackfillOptions) -> Result<(), WalkError> {
        let now = Timestamp::now();
        self.change(|state| {
            if state.pages == 0 && state.chunks_made == 0 {
                // It has just begun by itself: only the options are new.
                chunks::begin_run(state, now);
                state.consecutive_errors = 0;
                state.last_error = None;
                state.chunk_size = options.chunk_size;
                state.max_chunks = options.max_chunks;
            } else {
                *state = anew(state, options, now);
            }
        })
        .await?;
        self.nudge.notify_one();
        Ok(())
    }

    /// Hands on nothing more until it is resumed.
    pub(crate) async fn pause(&self, reason: Option<&str>) -> Result<(), WalkError> {
        self.change(|state| {
            if !state.is_walked() {
                state.status = BackfillStatus::Paused;
                state.resume_at = None;
                state.reason = Some(reason.unwrap_or("paused by hand").to_owned());
            }
        })
        .await?;
        Ok(())
    }

    /// Goes on, whatever stopped it; what is parked is fetched again.
    pub(crate) async fn resume(&self) -> Result<(), WalkError> {
        self.fetch_again().await?;
        let now = Timestamp::now();
        self.change(|state| {
            if !state.is_walked() {
                chunks::begin_run(state, now);
                state.consecutive_errors = 0;
                state.last_error = None;
            }
        })
        .await?;
        self.nudge.notify_one();
        Ok(())
    }
}

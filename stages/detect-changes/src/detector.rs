//! One repository's walks and what they share.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use jiff::Timestamp;
use prmirror_github::{Class, Client, Error, KeyDataPage, Parking};
use prmirror_kit::config::{DetectConfig, Priority, Repository};
use prmirror_kit::{
    Backoff, Bus, CancellationToken, Kv, KvError, Outgoing, PublishError, Setup, StreamError,
};
use prmirror_proto::envelope::EncodeError;
use prmirror_proto::messages::{ChangeRequest, InventoryPage, InventoryScope, Lane, Source};
use prmirror_proto::state::{BackfillState, BackfillStatus};
use prmirror_proto::subjects::{BUCKET_BACKFILLS, BUCKET_PROBES, BUCKET_WATERMARKS};
use prmirror_proto::{KeyData, RepositoryName};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::listed::Listed;
use crate::mirror::KeptPace;
use crate::open::Open;
use crate::pace::Looks;
use crate::pages::Pages;
use crate::poll::Quiet;
use crate::probes::Probes;
use crate::routing::{Route, Router, Sign, between};
use crate::service;
use crate::spacing::Spacing;
use crate::turns::Turns;
use crate::unreadable::HandedOn;
use crate::webhook::Learnt;

/// Why a walk was broken off. It begins again where its durable state says.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// GitHub did not answer as it should.
    #[error(transparent)]
    GitHub(#[from] Error),
    /// The broker did not take a message.
    #[error("the broker does not confirm: {0}")]
    Publish(#[from] PublishError),
    /// The broker's state cannot be read or written.
    #[error("the broker's state: {0}")]
    State(#[from] KvError),
    /// A stream cannot be looked at.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A message has no form.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The process is to end.
    #[error("shutting down")]
    Shutdown,
}

/// Pauses of a walk that was broken off.
const BROKEN_OFF: Backoff =
    Backoff::new(Duration::from_secs(1), Duration::from_secs(64)).stretch(0.25);

impl WalkError {
    /// How long to wait before the walk goes on, after this many failures in a row.
    pub(crate) fn pause(&self, failures: u32) -> Duration {
        let growing = BROKEN_OFF.after(failures.saturating_add(1));
        match self {
            Self::GitHub(error) => match error.class() {
                Class::Wait(pause) => pause,
                Class::Retry | Class::Split => growing,
                Class::Operator => Duration::from_secs(60),
            },
            Self::Publish(_) | Self::State(_) | Self::Stream(_) | Self::Encode(_) => growing,
            Self::Shutdown => Duration::ZERO,
        }
    }

    /// Whether GitHub did not like the question itself: a cursor, for one.
    pub(crate) fn is_about_the_question(&self) -> bool {
        matches!(self, Self::GitHub(Error::Graphql(_) | Error::Query(_)))
    }
}

/// A way to pass over a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walk {
    Poll,
    Look,
    Sweep(InventoryScope),
    Backfill,
}

/// Watches every repository of the deployment, and answers questions about their backfills. Returns
/// what all walks add to.
///
/// # Errors
/// When the broker's buckets cannot be opened.
pub async fn watch(setup: &Setup, client: &Client) -> Result<Learnt, KvError> {
    let learnt = Learnt::open(&setup.bus).await?;
    let turns = Turns::new(setup.pipeline.detect.backfill_parallel);
    let repositories = &setup.pipeline.repositories;
    let probes = Probes::new(client, repositories.len(), setup.pipeline.detect.poll);
    let mut detectors = Vec::new();
    for repository in repositories {
        detectors.push(Detector::open(setup, client, repository, &turns, &learnt, &probes).await?);
    }
    for detector in &detectors {
        detector.clone().spawn(setup);
    }
    let serving = service::serve(setup.bus.clone(), detectors, setup.shutdown.clone());
    setup.spawn("service", serving);
    Ok(learnt)
}

/// Watches one repository.
#[derive(Clone)]
pub(crate) struct Detector {
    pub(crate) client: Client,
    pub(crate) bus: Bus,
    pub(crate) watermarks: Kv,
    pub(crate) backfills: Kv,
    /// Where sweeps and refetches stand.
    pub(crate) state: Kv,
    pub(crate) listed: Listed,
    pub(crate) learnt: Learnt,
    pub(crate) probes: Probes,
    pub(crate) quiet: Quiet,
    pub(crate) open: Open,
    pub(crate) looks: Looks,
    pub(crate) pages: Pages,
    /// What GitHub could not tell all of.
    pub(crate) handed_on: HandedOn,
    /// Repositories of which nothing is fetched.
    pub(crate) parking: Arc<Parking>,
    pub(crate) pace: KeptPace,
    pub(crate) router: Router,
    spacing: Spacing,
    pub(crate) config: DetectConfig,
    pub(crate) page_size: u32,
    /// Documents an hour in which is asked what numbers are.
    pub(crate) numbers_an_hour: u32,
    /// Points of each hour that are left alone.
    pub(crate) floor: u64,
    pub(crate) repository: RepositoryName,
    pub(crate) priority: Priority,
    pub(crate) turns: Turns,
    /// Told when a backfill has something to do that was at rest.
    pub(crate) nudge: Arc<Notify>,
    /// Backfills that were walked to their end.
    pub(crate) walks: watch::Sender<u32>,
    /// The scan of the sweep of everything that ended last.
    pub(crate) swept: watch::Sender<Option<String>>,
    /// Whether the sweep of everything is wanted at once.
    pub(crate) in_haste: Arc<AtomicBool>,
    pub(crate) shutdown: CancellationToken,
}

impl Detector {
    async fn open(
        setup: &Setup,
        client: &Client,
        repository: &Repository,
        turns: &Turns,
        learnt: &Learnt,
        probes: &Probes,
    ) -> Result<Self, KvError> {
        let pipeline = &setup.pipeline;
        Ok(Self {
            client: client.clone(),
            bus: setup.bus.clone(),
            watermarks: setup.bus.kv(BUCKET_WATERMARKS).await?,
            backfills: setup.bus.kv(BUCKET_BACKFILLS).await?,
            state: setup.bus.kv(BUCKET_PROBES).await?,
            listed: Listed::default(),
            learnt: learnt.clone(),
            probes: probes.clone(),
            quiet: Quiet::default(),
            open: Open::default(),
            looks: Looks::new(pipeline.detect.look_most, pipeline.repositories.len()),
            pages: Pages::default(),
            handed_on: HandedOn::default(),
            parking: Arc::new(Parking::on(setup.bus.clone())),
            pace: KeptPace::default(),
            router: Router::new(pipeline),
            spacing: Spacing::new(pipeline.routing.min_interval),
            config: pipeline.detect.clone(),
            page_size: pipeline.github.page_size.clamp(1, 100),
            numbers_an_hour: pipeline.detect.numbers,
            floor: pipeline.github.floor,
            repository: repository.name.clone(),
            priority: repository.priority,
            turns: turns.clone(),
            nudge: Arc::default(),
            walks: watch::Sender::new(0),
            swept: watch::Sender::new(None),
            in_haste: Arc::default(),
            shutdown: setup.shutdown.clone(),
        })
    }

    /// Starts the walks.
    fn spawn(self, setup: &Setup) {
        let (poll, looks, open) = (self.clone(), self.clone(), self.clone());
        let (sweep, refetch, chunks) = (self.clone(), self.clone(), self.clone());
        let (numbers, mergeability) = (self.clone(), self.clone());
        setup.spawn("poll", async move {
            let every = || poll.probes.until_next(poll.looks.polls_every(&poll.config));
            poll.repeat(Walk::Poll, every).await;
            Ok::<(), String>(())
        });
        setup.spawn("looks", async move {
            looks.repeat(Walk::Look, || looks.looks_every()).await;
            Ok::<(), String>(())
        });
        setup.spawn("open sweep", async move {
            let every = || open.config.sweep_list.saturating_mul(open.looks.thrift());
            open.repeat(Walk::Sweep(InventoryScope::Open), every).await;
            Ok::<(), String>(())
        });
        setup.spawn("sweep", async move {
            sweep.sweep_after_backfills().await;
            Ok::<(), String>(())
        });
        setup.spawn("refetch", async move {
            refetch.refetch().await;
            Ok::<(), String>(())
        });
        setup.spawn("numbers", async move {
            numbers.explain_numbers().await;
            Ok::<(), String>(())
        });
        setup.spawn("mergeability", async move {
            mergeability.look_at_mergeability().await;
            Ok::<(), String>(())
        });
        setup.spawn("chunks", async move {
            chunks.look_after().await;
            Ok::<(), String>(())
        });
        setup.spawn("backfill", async move {
            while !self.shutdown.is_cancelled() {
                self.until_done(Walk::Backfill).await;
                tokio::select! {
                    () = self.nudge.notified() => {}
                    () = self.shutdown.cancelled() => {}
                }
            }
            Ok::<(), String>(())
        });
    }

    /// Does a walk again and again, `every` so often, and sooner after a failure.
    async fn repeat(&self, walk: Walk, every: impl Fn() -> Duration) {
        while !self.shutdown.is_cancelled() {
            self.until_done(walk).await;
            self.sleep(every()).await;
        }
    }

    /// Does a walk until it succeeds.
    pub(crate) async fn until_done(&self, walk: Walk) {
        let mut failures = 0_u32;
        while !self.shutdown.is_cancelled() {
            // Every page is durable by itself, so a shutdown may cut a walk anywhere.
            let result = tokio::select! {
                result = self.walk(walk) => result,
                () = self.shutdown.cancelled() => Err(WalkError::Shutdown),
            };
            match result {
                Ok(()) | Err(WalkError::Shutdown) => return,
                Err(error) => {
                    let pause = error.pause(failures);
                    failures = failures.saturating_add(1);
                    tracing::warn!(
                        repository = %self.repository, ?walk, ?pause,
                        "a walk was broken off: {error}"
                    );
                    self.note_failure(walk, &error, pause).await;
                    if walk == Walk::Backfill {
                        self.sleep_or_nudge(pause).await;
                    } else {
                        self.sleep(pause).await;
                    }
                }
            }
        }
    }

    async fn walk(&self, walk: Walk) -> Result<(), WalkError> {
        match walk {
            Walk::Poll => self.poll().await,
            Walk::Look => self.look().await,
            Walk::Sweep(scope) => self.sweep(scope).await,
            Walk::Backfill => self.backfill().await,
        }
    }

    async fn sleep_or_nudge(&self, pause: Duration) {
        tokio::select! {
            () = self.sleep(pause) => {}
            () = self.nudge.notified() => {}
        }
    }

    pub(crate) async fn sleep(&self, pause: Duration) {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.shutdown.cancelled() => {}
        }
    }

    /// Waits before asking again for what makes room by itself.
    pub(crate) async fn wait_a_moment(&self) -> Result<(), WalkError> {
        self.sleep(Duration::from_millis(200)).await;
        if self.shutdown.is_cancelled() {
            return Err(WalkError::Shutdown);
        }
        Ok(())
    }

    /// Publishes change requests about what was seen before, and waits for the broker to hold them, or others that
    /// serve for them as well.
    pub(crate) async fn request(&self, requests: Vec<ChangeRequest>) -> Result<(), WalkError> {
        let now = Timestamp::now();
        let mut outgoing = Vec::with_capacity(requests.len());
        for mut request in requests {
            self.spacing.space(&mut request, now);
            let message = Outgoing::new(&request)?;
            outgoing.push((request, message));
        }
        self.bus.publish_requests(outgoing).await?;
        Ok(())
    }

    /// Publishes a page of what was seen, notes its heads, and remembers what was open on it.
    pub(crate) async fn record(&self, page: &InventoryPage) -> Result<(), WalkError> {
        self.learnt
            .heads
            .note_page(&self.repository, &page.entries)
            .await;
        self.bus.publish(Outgoing::new(page)?, None).await?;
        match page.scope {
            InventoryScope::All | InventoryScope::Recent => self.open.told(page.total_count),
            InventoryScope::Open => {}
        }
        let pace = self.looks.pace(&self.config, self.priority);
        self.open.recorded(&page.entries, &pace, Instant::now());
        Ok(())
    }

    /// Records what was asked for by ids, as a page by itself.
    pub(crate) async fn record_some(
        &self,
        entries: Vec<KeyData>,
        total_count: u64,
        observed_at: Timestamp,
    ) -> Result<(), WalkError> {
        let scan = Scan::begin(Source::Sweep, InventoryScope::Recent);
        let page = InventoryPage {
            repository: self.repository.clone(),
            source: scan.source,
            scope: scan.scope,
            scan: scan.id,
            scan_started_at: scan.started_at,
            page: 0,
            last: true,
            total_count,
            observed_at,
            entries,
        };
        self.record(&page).await
    }

    /// Whether a backfill walks over the repository.
    pub(crate) async fn is_under_backfill(&self) -> Result<bool, WalkError> {
        let state = self.backfill_state().await?;
        Ok(state.as_ref().is_some_and(is_walking))
    }

    /// The queue that a sign goes to; none when a backfill brings what it is about.
    pub(crate) fn lane(
        &self,
        seen: &KeyData,
        source: Source,
        together: &Together,
        urgent: bool,
    ) -> Option<Lane> {
        let newest = together.newest.unwrap_or(seen.updated_at);
        let age = between(seen.updated_at, newest);
        let route = self.router.route(&Sign {
            repository: &self.repository,
            number: seen.number,
            source,
            age,
            together: together.count,
            range: age,
            under_backfill: together.under_backfill,
            urgent,
        });
        match route {
            Route::To(lane) => Some(lane),
            Route::Skip => None,
        }
    }

    /// Requests for what was seen, but for what is left to a backfill.
    pub(crate) fn noticed(
        &self,
        seen: &[&KeyData],
        source: Source,
        together: &Together,
    ) -> Vec<ChangeRequest> {
        let noticed = seen.iter().filter_map(|seen| {
            let lane = self.lane(seen, source, together, false)?;
            Some(self.sign(seen, source, lane, "seen"))
        });
        noticed.collect()
    }

    pub(crate) fn sign(
        &self,
        seen: &KeyData,
        source: Source,
        lane: Lane,
        basis: &str,
    ) -> ChangeRequest {
        ChangeRequest {
            repository: self.repository.clone(),
            number: seen.number,
            id: Some(seen.id.clone()),
            lane,
            source,
            basis: format!("{basis}:{}", seen.fingerprint()),
            reason: format!("{} saw updatedAt {}", source.as_str(), seen.updated_at),
            noticed_at: Timestamp::now(),
            changed_at: Some(seen.updated_at),
            not_before: None,
            urgent: false,
            seen: Some(seen.clone()),
        }
    }
}

/// What is handed on together.
pub(crate) struct Together {
    /// The newest change of the repository that is known.
    pub(crate) newest: Option<Timestamp>,
    /// How many there are.
    pub(crate) count: u64,
    /// Whether a backfill walks over the repository.
    pub(crate) under_backfill: bool,
}

/// Whether a backfill has still pull requests to hand on, and will.
pub(crate) fn is_walking(state: &BackfillState) -> bool {
    let goes_on = match state.status {
        BackfillStatus::Active | BackfillStatus::RateLimitLow => true,
        BackfillStatus::Paused
        | BackfillStatus::Completed
        | BackfillStatus::Failed
        | BackfillStatus::Replaced => false,
    };
    goes_on && !state.is_walked()
}

/// A scan: a walk whose pages belong together.
pub(crate) struct Scan {
    pub(crate) id: String,
    pub(crate) source: Source,
    pub(crate) scope: InventoryScope,
    pub(crate) started_at: Timestamp,
}

impl Scan {
    pub(crate) fn begin(source: Source, scope: InventoryScope) -> Self {
        let started_at = Timestamp::now();
        Self {
            id: format!(
                "{}-{}-{}",
                source.as_str(),
                scope.as_str(),
                started_at.as_microsecond()
            ),
            source,
            scope,
            started_at,
        }
    }

    /// The message for one of its pages.
    pub(crate) fn page(
        &self,
        repository: &RepositoryName,
        number: u32,
        last: bool,
        page: KeyDataPage,
    ) -> InventoryPage {
        InventoryPage {
            repository: repository.clone(),
            source: self.source,
            scope: self.scope,
            scan: self.id.clone(),
            scan_started_at: self.started_at,
            page: number,
            last,
            total_count: page.total_count,
            observed_at: page.observed_at,
            entries: page.entries,
        }
    }
}

//! What is to be asked of GitHub, and which of it goes into the next document.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use prmirror_github::{Ask, POINT, Weight};
use prmirror_kit::config::Priority;
use prmirror_proto::messages::Lane;
use prmirror_proto::repository::RepositoryName;
use tokio::time::Instant;

use crate::job::Job;

/// How long GitHub may be expected to work on a document: it gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(4);

/// Nodes of a document from which it tells how long each of them takes.
const LEARN: u32 = 100;

/// What GitHub is taken to need for a node before it was measured.
const NODE_TIME: Duration = Duration::from_micros(1_000);

/// A question with the job that it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) job: u64,
    pub(crate) question: u32,
    pub(crate) ask: Ask,
}

impl Item {
    /// The first question about a pull request, and not a further page of what was begun.
    const fn is_new(&self) -> bool {
        matches!(self.ask, Ask::PullRequest { .. })
    }

    /// The first question about this pull request.
    const fn begins(&self, pull_request: u64) -> bool {
        matches!(self.ask, Ask::PullRequest { number, .. } if number == pull_request)
    }
}

/// Questions that are asked together.
#[derive(Debug)]
pub(crate) struct Document {
    pub(crate) repository: RepositoryName,
    pub(crate) lane: Lane,
    pub(crate) items: Vec<Item>,
    pub(crate) weight: Weight,
}

/// Documents of different kinds take turns, so that none of them starves another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Filled up from what waits in the lanes.
    Filled,
    /// Part of a document that failed, or what failed before.
    Part,
    /// Of a stubborn pull request.
    Stubborn,
}

impl Kind {
    /// Whose turn it is after this one.
    const fn next(self) -> Self {
        match self {
            Self::Filled => Self::Part,
            Self::Part => Self::Stubborn,
            Self::Stubborn => Self::Filled,
        }
    }
}

/// A document that is asked as it is.
struct Apart {
    kind: Kind,
    items: Vec<Item>,
    /// Not before this.
    due: Instant,
}

/// The questions of one repository.
struct Queue {
    lanes: BTreeMap<Lane, VecDeque<Item>>,
    /// Documents that are asked as they are: parts of one that failed, and stubborn pull requests.
    apart: VecDeque<Apart>,
    /// Whose turn it is.
    turn: Kind,
    /// Whether the next document that is filled has first what is new: that takes turns with further pages of
    /// what was begun, so that nobody waits for the long lists of another.
    new_first: bool,
    /// Since when something waits to be asked.
    since: Instant,
    /// More requests wait in the stream than were handed out, as the newest of them knows.
    more: bool,
    /// Its place in the stream: they are put here in no order.
    newest: u64,
    /// What GitHub needed for a node of this repository, on the average of the last documents.
    node_time: Duration,
    /// Documents in a row that failed as a whole.
    failures: u32,
    /// Nothing of the repository is asked before then.
    shut_until: Option<Instant>,
    /// What was asked of each lane so far, a document the less the more its lane and repository weigh: who
    /// has had least is next.
    had: BTreeMap<Lane, u64>,
}

/// What a document of the realtime lane counts, whatever the repository: half of one of bulk work of high
/// priority.
const REALTIME: u64 = 1;

/// The same of a document of bulk work whose repository weighs 1.
const BULK: u64 = 8;

/// All questions. No question is in it whose job is not.
#[derive(Default)]
pub(crate) struct Board {
    next: u64,
    jobs: BTreeMap<u64, Job>,
    queues: BTreeMap<RepositoryName, Queue>,
    /// The repository that was served last: of those that have had the same, the others come first.
    served: Option<RepositoryName>,
    /// What that one had had. Who had nothing to ask for long is not owed more than this.
    had: u64,
    /// Weights of repositories that do not weigh what most do.
    weights: BTreeMap<RepositoryName, u32>,
}

/// The bounds of a document.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Whole pull requests.
    pub(crate) pull_requests: usize,
    /// How long a document that is not full waits for more questions.
    pub(crate) wait: Duration,
    /// The same while more is known to come: a document costs a point, full or not.
    pub(crate) wait_for_more: Duration,
}

/// What the board has to say when it is asked for a document.
#[derive(Debug)]
pub(crate) enum Next {
    /// This.
    Document(Document),
    /// Nothing before this moment, unless more comes.
    At(Instant),
    /// Nothing.
    Nothing,
}

impl Queue {
    fn new(now: Instant) -> Self {
        Self {
            lanes: BTreeMap::new(),
            apart: VecDeque::new(),
            turn: Kind::Filled,
            new_first: false,
            since: now,
            more: false,
            newest: 0,
            node_time: NODE_TIME,
            failures: 0,
            shut_until: None,
            had: BTreeMap::new(),
        }
    }

    /// Whether nothing waits for a document to be filled.
    fn nothing_waits(&self) -> bool {
        self.lanes.values().all(VecDeque::is_empty)
    }

    fn is_empty(&self) -> bool {
        self.apart.is_empty() && self.nothing_waits()
    }

    /// Something is put on it.
    fn waits_from(&mut self, now: Instant) {
        if self.nothing_waits() {
            self.since = now;
        }
    }

    fn most_nodes(&self) -> u32 {
        let nodes = PATIENCE.as_micros() / self.node_time.as_micros().max(1);
        u32::try_from(nodes).unwrap_or(u32::MAX).max(100)
    }

    /// The lane to be served: realtime, as long as it has anything.
    fn lane(&self) -> Lane {
        let realtime = self.lanes.get(&Lane::Realtime);
        if realtime.is_some_and(|items| !items.is_empty()) {
            Lane::Realtime
        } else {
            Lane::Bulk
        }
    }

    /// Takes items until nothing fits any more; whether something did not. What does not fit is passed
    /// over for smaller ones behind it, and is the first of the next document.
    fn pack(&mut self, bounds: Bounds) -> (Vec<Item>, Weight, bool) {
        let most_nodes = self.most_nodes();
        let mut items: Vec<Item> = Vec::new();
        let mut weight = Weight::default();
        let (mut whole, mut full) = (0, false);
        for lane in [Lane::Realtime, Lane::Bulk] {
            let Some(waiting) = self.lanes.get_mut(&lane) else {
                continue;
            };
            for new in [self.new_first, !self.new_first] {
                let mut place = 0;
                while let Some(item) = waiting.get(place) {
                    if item.is_new() != new {
                        place += 1;
                        continue;
                    }
                    let more = weight + item.ask.weight();
                    let pull_request = usize::from(new);
                    let fits = more.requests <= POINT
                        && more.nodes <= most_nodes
                        && whole + pull_request <= bounds.pull_requests;
                    if !fits && !items.is_empty() {
                        full = true;
                        place += 1;
                        continue;
                    }
                    weight = more;
                    whole += pull_request;
                    items.extend(waiting.remove(place));
                }
            }
        }
        (items, weight, full)
    }

    /// Puts items before all others, each in the lane of what asked for it: a document of one lane is filled
    /// up from the other.
    fn put_back(&mut self, jobs: &BTreeMap<u64, Job>, items: Vec<Item>, otherwise: Lane) {
        for item in items.into_iter().rev() {
            let lane = jobs
                .get(&item.job)
                .map_or(otherwise, |job| job.request.lane);
            self.lanes.entry(lane).or_default().push_front(item);
        }
    }
}

/// Where something urgent waits: behind what is as urgent and came before it, before everything else of its kind.
/// What is new takes turns with further pages of what was begun.
fn behind_urgent(waiting: &VecDeque<Item>, jobs: &BTreeMap<u64, Job>, new: bool) -> usize {
    let is_urgent = |item: &Item| jobs.get(&item.job).is_some_and(|job| job.request.urgent);
    let mut items = waiting.iter();
    let first = items.position(|item| item.is_new() == new && !is_urgent(item));
    first.unwrap_or(waiting.len())
}

impl Board {
    /// Bulk work is divided among repositories by these weights.
    pub(crate) fn weigh(&mut self, weights: BTreeMap<RepositoryName, u32>) {
        self.weights = weights;
    }

    /// What a document of a lane counts.
    fn price(&self, repository: &RepositoryName, lane: Lane) -> u64 {
        match lane {
            Lane::Realtime => REALTIME,
            Lane::Bulk => {
                let usual = Priority::default().weight();
                let weight = self.weights.get(repository).copied().unwrap_or(usual);
                (BULK / u64::from(weight.max(1))).max(1)
            }
        }
    }

    /// Repositories in the order in which they are to be served, with what the lane has had that is next.
    fn order(&self) -> Vec<(u64, RepositoryName)> {
        let rotated: Vec<&RepositoryName> = match &self.served {
            None => self.queues.keys().collect(),
            Some(last) => {
                let later = self.queues.keys().filter(|name| *name > last);
                let earlier = self.queues.keys().filter(|name| *name <= last);
                later.chain(earlier).collect()
            }
        };
        let place = |name: &RepositoryName| {
            let queue = self.queues.get(name)?;
            let lane = queue.lane();
            let had = queue.had.get(&lane).copied().unwrap_or(0).max(self.had);
            Some((had, name.clone()))
        };
        let mut order: Vec<_> = rotated.into_iter().filter_map(place).collect();
        order.sort_by_key(|(had, _)| *had);
        order
    }

    /// Takes a job in, with its open questions. `more` of its kind are known to come. Where another waits for the
    /// same, one of them remains, and the older one is returned: the newer one serves for both.
    pub(crate) fn add(&mut self, job: Job, more: bool, now: Instant) -> Option<Job> {
        let queue = self.queue(&job.request.repository, now);
        if job.sequence >= queue.newest {
            queue.newest = job.sequence;
            queue.more = more && job.request.lane == Lane::Bulk;
        }
        if let Some(id) = self.waiting_for(&job)
            && let Some(waiting) = self.jobs.get_mut(&id)
        {
            let was_urgent = waiting.request.urgent;
            let older = waiting.share_with(job);
            self.renew(id, was_urgent);
            return Some(older);
        }
        self.put(job, now);
        None
    }

    /// The job that waits for the same as this one. A message that comes again while it is in hand is none: settling
    /// the one would settle the other.
    fn waiting_for(&self, job: &Job) -> Option<u64> {
        if !job.is_shareable() {
            return None;
        }
        let queue = self.queues.get(&job.request.repository)?;
        let waiting = queue.lanes.get(&job.request.lane)?.iter();
        let mut same = waiting.filter(|item| item.begins(job.request.number));
        let shared = same.find(|item| {
            let known = self.jobs.get(&item.job);
            known.is_some_and(|known| known.is_shareable() && known.sequence != job.sequence)
        })?;
        Some(shared.job)
    }

    /// What waits is now asked for another request: in its place, unless it has only now become urgent.
    fn renew(&mut self, id: u64, was_urgent: bool) {
        let Some(job) = self.jobs.get(&id) else {
            return;
        };
        let queue = self.queues.get_mut(&job.request.repository);
        let Some(waiting) = queue.and_then(|queue| queue.lanes.get_mut(&job.request.lane)) else {
            return;
        };
        let place = waiting.iter().position(|item| item.job == id);
        let Some((place, mut item)) = place.and_then(|place| Some((place, waiting.remove(place)?)))
        else {
            return;
        };
        if let Some((question, ask)) = job.work.open.first_key_value() {
            (item.question, item.ask) = (*question, ask.clone());
        }
        let place = if job.request.urgent && !was_urgent {
            behind_urgent(waiting, &self.jobs, true)
        } else {
            place
        };
        waiting.insert(place, item);
    }

    /// Puts the questions of a job where they wait.
    fn put(&mut self, job: Job, now: Instant) {
        let id = self.next;
        self.next += 1;
        let (repository, lane) = (job.request.repository.clone(), job.request.lane);
        let mut items = job.work.open.iter().map(|(question, ask)| Item {
            job: id,
            question: *question,
            ask: ask.clone(),
        });
        let queue = self
            .queues
            .entry(repository)
            .or_insert_with(|| Queue::new(now));
        let apart = |kind, item| Apart {
            kind,
            items: vec![item],
            due: now,
        };
        if job.stubborn {
            let stubborn = items.map(|item| apart(Kind::Stubborn, item));
            queue.apart.extend(stubborn);
        } else if job.is_suspect() && job.work.answer.is_none() {
            queue
                .apart
                .extend(items.next().map(|item| apart(Kind::Part, item)));
        } else if job.request.urgent {
            let waiting = queue.lanes.entry(lane).or_default();
            let place = behind_urgent(waiting, &self.jobs, job.work.answer.is_none());
            for (further, item) in items.enumerate() {
                waiting.insert(place + further, item);
            }
        } else {
            queue.lanes.entry(lane).or_default().extend(items);
        }
        self.jobs.insert(id, job);
    }

    fn queue(&mut self, repository: &RepositoryName, now: Instant) -> &mut Queue {
        let queue = self
            .queues
            .entry(repository.clone())
            .or_insert_with(|| Queue::new(now));
        queue.waits_from(now);
        queue
    }

    pub(crate) fn job(&mut self, id: u64) -> Option<&mut Job> {
        self.jobs.get_mut(&id)
    }

    /// Takes a job off, with all of its questions.
    pub(crate) fn remove(&mut self, id: u64) -> Option<Job> {
        let job = self.jobs.remove(&id)?;
        if let Some(queue) = self.queues.get_mut(&job.request.repository) {
            for items in queue.lanes.values_mut() {
                items.retain(|item| item.job != id);
            }
            for apart in &mut queue.apart {
                apart.items.retain(|item| item.job != id);
            }
            queue.apart.retain(|apart| !apart.items.is_empty());
        }
        Some(job)
    }

    /// Takes the jobs off of which no question is under way.
    pub(crate) fn take_waiting(&mut self) -> Vec<Job> {
        let mut waiting: BTreeMap<u64, usize> = BTreeMap::new();
        for queue in self.queues.values() {
            let in_lanes = queue.lanes.values().flatten();
            let apart = queue.apart.iter().flat_map(|apart| &apart.items);
            for item in in_lanes.chain(apart) {
                *waiting.entry(item.job).or_default() += 1;
            }
        }
        // A question that is under way is open, and on no queue.
        let idle: Vec<u64> = self
            .jobs
            .iter()
            .filter(|(id, job)| waiting.get(*id) == Some(&job.work.open.len()))
            .map(|(id, _)| *id)
            .collect();
        idle.into_iter().filter_map(|id| self.remove(id)).collect()
    }

    /// Nothing of a repository is asked before `until`. Its jobs, which are off the board.
    pub(crate) fn shut(&mut self, repository: &RepositoryName, until: Instant) -> Vec<Job> {
        if let Some(queue) = self.queues.get_mut(repository) {
            queue.shut_until = Some(until);
        }
        let concerned: Vec<u64> = self
            .jobs
            .iter()
            .filter(|(_, job)| job.request.repository == *repository)
            .map(|(id, _)| *id)
            .collect();
        concerned
            .into_iter()
            .filter_map(|id| self.remove(id))
            .collect()
    }

    /// A repository may be asked about. So many documents in a row failed before that is known again.
    pub(crate) fn open(&mut self, repository: &RepositoryName, failures: u32, now: Instant) {
        let queue = self
            .queues
            .entry(repository.clone())
            .or_insert_with(|| Queue::new(now));
        queue.shut_until = None;
        queue.failures = queue.failures.max(failures);
    }

    /// Questions that follow from an answer: before those of what was begun later, so that it is finished.
    pub(crate) fn go_on(&mut self, document: &Document, items: Vec<Item>, now: Instant) {
        self.queue(&document.repository, now);
        if let Some(queue) = self.queues.get_mut(&document.repository) {
            queue.put_back(&self.jobs, items, document.lane);
        }
    }

    /// Questions that are asked in a document of their own, after a pause.
    pub(crate) fn ask_apart(
        &mut self,
        document: &Document,
        items: Vec<Item>,
        pause: Duration,
        now: Instant,
    ) {
        let first = items.first().and_then(|item| self.jobs.get(&item.job));
        let kind = if first.is_some_and(|job| job.stubborn) {
            Kind::Stubborn
        } else {
            Kind::Part
        };
        let due = now + pause;
        let queue = self.queue(&document.repository, now);
        queue.apart.push_back(Apart { kind, items, due });
    }

    /// Notes that GitHub answered a document, and how long it worked on it.
    pub(crate) fn answered(&mut self, document: &Document, took: Duration) {
        let Some(queue) = self.queues.get_mut(&document.repository) else {
            return;
        };
        queue.failures = 0;
        // A document of few nodes says more of the network than of the nodes, unless it came sooner than
        // they were thought to need.
        let each = took / document.weight.nodes.max(1);
        if document.weight.nodes >= LEARN || each < queue.node_time {
            queue.node_time = (queue.node_time * 7 + each) / 8;
        }
    }

    /// Notes that GitHub answers, though not this document.
    pub(crate) fn is_answered(&mut self, document: &Document) {
        if let Some(queue) = self.queues.get_mut(&document.repository) {
            queue.failures = 0;
        }
    }

    /// Notes that a document failed as a whole, perhaps because it was too much; how many have, without
    /// an answer between them.
    pub(crate) fn failed(&mut self, document: &Document, may_be_weight: bool) -> u32 {
        let Some(queue) = self.queues.get_mut(&document.repository) else {
            return 0;
        };
        if may_be_weight && queue.failures == 0 && document.items.len() > 1 {
            // It may have been too much: the next ones are half as large.
            queue.node_time = (queue.node_time * 2).min(NODE_TIME * 40);
        }
        queue.failures = queue.failures.saturating_add(1);
        queue.failures
    }

    /// The next document, of the repository that has had least for its weight.
    pub(crate) fn next(&mut self, bounds: Bounds, now: Instant) -> Next {
        let mut soonest: Option<Instant> = None;
        for (had, repository) in self.order() {
            let Some(queue) = self.queues.get_mut(&repository) else {
                continue;
            };
            if queue.is_empty() {
                continue;
            }
            if let Some(until) = queue.shut_until.filter(|until| now < *until) {
                soonest = Some(soonest.map_or(until, |known| known.min(until)));
                continue;
            }
            let mut kind = queue.turn;
            for _ in 0..3 {
                let found = match kind {
                    Kind::Filled => self.filled(&repository, bounds, now),
                    Kind::Part | Kind::Stubborn => self.apart(&repository, kind, now),
                };
                match found {
                    Next::Document(document) => {
                        // Parts of what failed may be of the other lane than what waits.
                        let lane = document.lane;
                        let price = self.price(&repository, lane);
                        if let Some(queue) = self.queues.get_mut(&repository) {
                            queue.turn = kind.next();
                            let own = queue.had.get(&lane).copied().unwrap_or(0).max(had);
                            queue.had.insert(lane, own.saturating_add(price));
                        }
                        self.had = had;
                        self.served = Some(repository);
                        return Next::Document(document);
                    }
                    Next::At(at) => soonest = Some(soonest.map_or(at, |known| known.min(at))),
                    Next::Nothing => {}
                }
                kind = kind.next();
            }
        }
        soonest.map_or(Next::Nothing, Next::At)
    }

    /// A document of a repository that is filled up from the lanes.
    fn filled(&mut self, repository: &RepositoryName, bounds: Bounds, now: Instant) -> Next {
        let Some(queue) = self.queues.get_mut(repository) else {
            return Next::Nothing;
        };
        if queue.nothing_waits() {
            return Next::Nothing;
        }
        let lane = queue.lane();
        let due = queue.since
            + if queue.more && lane == Lane::Bulk {
                bounds.wait_for_more
            } else {
                bounds.wait
            };
        let (items, weight, full) = queue.pack(bounds);
        if full || now >= due {
            queue.since = now;
            queue.new_first = !queue.new_first;
            return Next::Document(Document {
                repository: repository.clone(),
                lane,
                items,
                weight,
            });
        }
        queue.put_back(&self.jobs, items, lane);
        Next::At(due)
    }

    /// The first document of this kind whose time has come.
    fn apart(&mut self, repository: &RepositoryName, kind: Kind, now: Instant) -> Next {
        let Some(queue) = self.queues.get_mut(repository) else {
            return Next::Nothing;
        };
        let of_kind = |apart: &&Apart| apart.kind == kind;
        let Some(due) = queue.apart.iter().filter(of_kind).map(|a| a.due).min() else {
            return Next::Nothing;
        };
        let ready = |apart: &Apart| apart.kind == kind && apart.due <= now;
        let Some(place) = queue.apart.iter().position(ready) else {
            return Next::At(due);
        };
        let lane = queue.lane();
        match queue.apart.remove(place) {
            Some(apart) => Next::Document(self.document(repository.clone(), lane, apart.items)),
            None => Next::Nothing,
        }
    }

    fn document(&self, repository: RepositoryName, lane: Lane, items: Vec<Item>) -> Document {
        let weights = items.iter().map(|item| item.ask.weight());
        let weight = weights.fold(Weight::default(), std::ops::Add::add);
        let first = items.first().and_then(|item| self.jobs.get(&item.job));
        Document {
            lane: first.map_or(lane, |job| job.request.lane),
            repository,
            items,
            weight,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

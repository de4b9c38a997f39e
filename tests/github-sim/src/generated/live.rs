//! The living world: what happens to pull requests as the clock goes on.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use jiff::Timestamp;
use serde_json::Value;

use crate::generated::history::after;
use crate::generated::life::Life;
use crate::generated::{Made, issues, names, pull_request_id, sizes};
use crate::random::{Random, mix};
use crate::world::pull_request::{State, complete};
use crate::world::{RepositoryKey, Store};

/// Something that will happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// Someone does something.
    Anything,
    /// The checks of a head begin, unless the head has changed again.
    StartChecks(u64, Head),
    /// The checks of a head are finished.
    FinishChecks(u64, Head),
    /// They run again.
    RerunChecks(u64, Head),
    /// GitHub has found out whether it can be merged.
    Mergeability(u64, Head),
}

/// A head commit, as a hash of its oid.
type Head = u64;

/// What is going to happen, and to whom.
pub(super) struct Live {
    seed: u64,
    /// Each event has a stream of random numbers of its own.
    count: u64,
    queue: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    /// Open pull requests, ascending.
    open: Vec<u64>,
    /// Closed ones that may be reopened.
    closed: Vec<u64>,
}

impl Live {
    pub(super) fn new(store: &Store, key: &RepositoryKey, made: &Made) -> Self {
        let (seed, at) = (made.seed, made.at);
        let mut live = Self {
            seed,
            count: 0,
            queue: BinaryHeap::new(),
            open: Vec::new(),
            closed: Vec::new(),
        };
        for header in store.numbers().into_iter().filter_map(|n| store.header(n)) {
            if header.state == State::Open {
                live.open.push(header.number);
            }
            // What was pushed just before has checks that run.
            if after(header.updated_at, 4 * 3_600) > at {
                let body = made.body(key, header);
                if body["statusCheckRollup"]["state"] == "PENDING" {
                    let wait = (mix(&[seed, header.number]) % 1_800) as i64;
                    let event = Event::FinishChecks(header.number, head_of(&body));
                    live.schedule(at, wait, event);
                }
            }
        }
        live.schedule(at, 1, Event::Anything);
        live
    }

    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.queue.peek().map(|Reverse((at, _, _))| *at)
    }

    pub(super) fn advance(
        &mut self,
        key: &RepositoryKey,
        made: &Made,
        store: &mut Store,
        now: Timestamp,
    ) {
        while self.next_at().is_some_and(|at| at <= now) {
            if let Some(Reverse((at, count, event))) = self.queue.pop() {
                store.set_time(at);
                let random = Random::of(&[self.seed, 4, count]);
                self.happen(&Place { key, made }, store, at, event, random);
            }
        }
    }

    fn schedule(&mut self, at: Timestamp, seconds: i64, event: Event) {
        self.count += 1;
        let at = after(at, seconds.max(1));
        self.queue.push(Reverse((at, self.count, event)));
    }

    fn happen(
        &mut self,
        place: &Place<'_>,
        store: &mut Store,
        at: Timestamp,
        event: Event,
        mut random: Random,
    ) {
        match event {
            Event::Anything => {
                // The more is open, the more happens: with 1,300 open, 15 updates an hour were seen.
                let hourly = 10.0 + self.open.len() as f64 / 20.0;
                let wait = random.exponential(3_600.0 / hourly) as i64;
                self.schedule(at, wait, Event::Anything);
                self.anything(place, store, at, random);
            }
            Event::StartChecks(number, head) => {
                let count = sizes::contexts(&mut random);
                let takes = 120 + random.exponential(900.0) as i64;
                let done = place.change(store, number, random, |life| {
                    let same = is_head(life, head);
                    if same {
                        life.start_checks(at, count);
                    }
                    same
                });
                if done {
                    self.schedule(at, takes, Event::FinishChecks(number, head));
                }
            }
            Event::FinishChecks(number, head) => {
                let again = random.chance(0.05).then(|| random.between(60, 14_400));
                let done = place.change(store, number, random, |life| {
                    let same = is_head(life, head);
                    if same {
                        life.finish_checks(at);
                    }
                    same
                });
                if let (true, Some(wait)) = (done, again) {
                    self.schedule(at, wait as i64, Event::RerunChecks(number, head));
                }
            }
            Event::RerunChecks(number, head) => {
                let takes = 120 + random.exponential(900.0) as i64;
                let done = place.change(store, number, random, |life| {
                    let same = is_head(life, head) && life.has_checks();
                    if same {
                        life.rerun_checks(at);
                    }
                    same
                });
                if done {
                    self.schedule(at, takes, Event::FinishChecks(number, head));
                }
            }
            Event::Mergeability(number, head) => {
                place.change(store, number, random, |life| {
                    if is_head(life, head) && life.is_open() {
                        life.mergeability();
                    }
                    true
                });
            }
        }
    }

    /// Someone does something to some pull request, mostly a recent one.
    fn anything(
        &mut self,
        place: &Place<'_>,
        store: &mut Store,
        at: Timestamp,
        mut random: Random,
    ) {
        let kind = random.below(100);
        if kind < 6 || self.open.is_empty() {
            self.open_one(place, store, at, random);
            return;
        }
        if kind == 6 && !self.closed.is_empty() {
            let number = self
                .closed
                .swap_remove(random.below(self.closed.len() as u64) as usize);
            place.change(store, number, random, |life| {
                life.reopen(at);
                true
            });
            self.open.push(number);
            self.open.sort_unstable();
            return;
        }
        let share = 1.0 - random.fraction() * random.fraction();
        let index = (share * self.open.len() as f64) as usize;
        let index = index.min(self.open.len() - 1);
        let number = self.open[index];
        if (93..96).contains(&kind) {
            let mut head = 0;
            place.change(store, number, random, |life| {
                head = head_of(&life.value);
                true
            });
            self.schedule(at, 1, Event::RerunChecks(number, head));
            return;
        }
        let mut pushed = None;
        place.change(store, number, random, |life| {
            pushed = act(life, at, kind);
            true
        });
        if let Some(head) = pushed {
            self.after_push(at, number, head);
        }
        let state = store.header(number).map(|h| h.state);
        match state {
            Some(State::Open) => {}
            Some(State::Closed) => {
                self.closed.push(number);
                self.open.remove(index);
            }
            Some(State::Merged) | None => {
                self.open.remove(index);
                self.base_moved(place, store, at);
            }
        }
    }

    fn open_one(
        &mut self,
        place: &Place<'_>,
        store: &mut Store,
        at: Timestamp,
        mut random: Random,
    ) {
        let number = store.last_number() + 1 + issues(&mut random);
        let id = pull_request_id(place.key, number);
        let commits = random.between(1, 4);
        let files = random.between(1, 8);
        let mut life = Life::open(place.key, number, &id, at, random);
        life.push_commits(at, commits, files);
        let head = head_of(&life.value);
        place.put(store, life.value);
        self.open.push(number);
        self.after_push(at, number, head);
    }

    /// The base branch has moved: whether others can be merged has to be found out again.
    fn base_moved(&mut self, place: &Place<'_>, store: &mut Store, at: Timestamp) {
        let recent: Vec<u64> = self.open.iter().rev().take(3).copied().collect();
        for number in recent {
            let mut head = 0;
            self.count += 1;
            let random = Random::of(&[self.seed, 5, self.count]);
            place.change(store, number, random, |life| {
                life.mergeability_unknown();
                head = head_of(&life.value);
                true
            });
            self.schedule(at, 30, Event::Mergeability(number, head));
        }
    }

    fn after_push(&mut self, at: Timestamp, number: u64, head: Head) {
        let jitter = (mix(&[head]) % 25) as i64;
        self.schedule(at, 5 + jitter, Event::StartChecks(number, head));
        self.schedule(at, 10 + jitter, Event::Mergeability(number, head));
    }
}

/// Does something. Returns the new head when commits were pushed.
fn act(life: &mut Life<'_>, at: Timestamp, kind: u64) -> Option<Head> {
    match kind {
        ..30 => {
            let commits = life.random.between(1, 3);
            let files = life.random.below(3);
            life.push_commits(at, commits, files);
            return Some(head_of(&life.value));
        }
        30..34 => {
            life.force_push(at);
            return Some(head_of(&life.value));
        }
        34..50 => life.comment(at),
        50..60 => {
            let threads = life.random.below(4);
            life.review(at, threads);
        }
        60..64 if life.has_threads() => life.reply(at),
        64..67 if life.has_threads() => life.resolve(at),
        60..76 => {
            let (name, _) = *life.random.pick(&names::LABELS);
            life.label(at, name);
        }
        76..83 => match life.labels().first() {
            Some(name) => life.unlabel(at, name),
            None => life.label(at, "awaiting-review"),
        },
        83..85 => life.request_review(at),
        85 => life.assign(at),
        86 => life.rename(at),
        87 => life.draft(at),
        88 => life.milestone(at),
        89..91 => life.reference(at),
        91..93 => life.close(at),
        _ => life.merge(at),
    }
    None
}

fn head_of(value: &Value) -> Head {
    crate::random::hash(value["headRefOid"].as_str().unwrap_or_default())
}

fn is_head(life: &Life<'_>, head: Head) -> bool {
    head_of(&life.value) == head
}

/// Where things happen.
struct Place<'a> {
    key: &'a RepositoryKey,
    made: &'a Made,
}

impl Place<'_> {
    /// Changes a pull request if it exists. Returns what `change` returns.
    fn change(
        &self,
        store: &mut Store,
        number: u64,
        random: Random,
        change: impl FnOnce(&mut Life<'_>) -> bool,
    ) -> bool {
        let Some(header) = store.header(number).cloned() else {
            return false;
        };
        let value = match store.take_body(number) {
            Some(value) => value,
            None => {
                let value = self.made.body(self.key, &header);
                store.was(number, || value.clone());
                value
            }
        };
        let mut life = Life::resume(self.key, number, value, random);
        let done = change(&mut life);
        self.put(store, life.value);
        done
    }

    fn put(&self, store: &mut Store, mut value: Value) {
        match complete(&self.made.shapes, self.key, &mut value, self.made.at) {
            Ok(header) => store.put(header, Some(value)),
            Err(error) => tracing::error!(%error, "a generated pull request has no shape"),
        }
    }
}

//! A repository: its pull requests, in the orders in which GitHub lists them.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;

use crate::world::pull_request::{self, Header, ShapeError, State};
use crate::world::shape::Shapes;
use crate::world::{Source, node_id};

/// What names a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RepositoryKey {
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) database_id: u64,
    pub(crate) id: String,
}

impl RepositoryKey {
    pub(crate) fn new(owner: &str, name: &str, database_id: u64) -> Self {
        Self {
            owner: owner.to_owned(),
            name: name.to_owned(),
            database_id,
            id: node_id::encode("R", &[database_id]),
        }
    }

    pub(crate) fn full_name(&self) -> String {
        format!("{}/{}", self.owner, self.name)
    }

    pub(crate) fn is(&self, owner: &str, name: &str) -> bool {
        self.owner.eq_ignore_ascii_case(owner) && self.name.eq_ignore_ascii_case(name)
    }
}

/// A repository and what feeds it.
pub(crate) struct Repository {
    pub(crate) key: RepositoryKey,
    pub(crate) former_names: Vec<(String, String)>,
    pub(crate) is_archived: bool,
    /// What is said to whoever asks about it, if nobody may see it.
    pub(crate) forbidden: Option<String>,
    pub(crate) store: Store,
    pub(crate) source: Box<dyn Source>,
    cache: Mutex<Cache>,
}

impl Repository {
    pub(crate) fn new(key: RepositoryKey, store: Store, source: Box<dyn Source>) -> Self {
        Self {
            key,
            former_names: Vec::new(),
            is_archived: false,
            forbidden: None,
            store,
            source,
            cache: Mutex::default(),
        }
    }

    /// The pull request of that number, unless there is none or it is hidden.
    pub(crate) fn pull_request(&self, number: u64) -> Option<Arc<Value>> {
        let entry = self
            .store
            .entries
            .get(&number)
            .filter(|e| e.shown != Shown::Never)?;
        if let Some(held) = &entry.body {
            return Some(Arc::clone(held));
        }
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = cache.bodies.get(&number) {
            return Some(Arc::clone(found));
        }
        let header = entry.header.clone();
        drop(cache);
        let body = Arc::new(self.source.body(&self.key, &header));
        cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.insert(number, Arc::clone(&body));
        Some(body)
    }

    /// The number of the pull request that has a review thread of that id.
    pub(crate) fn thread(&self, id: &str) -> Option<u64> {
        let (prefix, parts) = node_id::decode(id)?;
        let [repository, _, number] = parts.as_slice() else {
            return None;
        };
        if prefix != "PRRT" || *repository != self.key.database_id {
            return None;
        }
        let body = self.pull_request(*number)?;
        let threads = body.pointer("/reviewThreads/nodes")?.as_array()?;
        let has = |t: &Value| t.get("id").and_then(Value::as_str) == Some(id);
        threads.iter().any(has).then_some(*number)
    }

    /// When something was last pushed: no later than the newest update of a pull request.
    pub(crate) fn pushed_at(&self) -> Option<Timestamp> {
        let (&(at, _), _) = self.store.by_updated.last_key_value()?;
        Some(at)
    }

    /// The visible numbers, ascending.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.store.numbers()
    }

    /// Changes one pull request. Its number stays what it is.
    pub(crate) fn update(
        &mut self,
        shapes: &Shapes,
        number: u64,
        now: Timestamp,
        change: impl FnOnce(&mut Value),
    ) -> Option<Result<(), ShapeError>> {
        let mut value = Arc::unwrap_or_clone(self.pull_request(number)?);
        self.store.was(number, || value.clone());
        self.store.set_time(now);
        change(&mut value);
        if let Some(map) = value.as_object_mut() {
            map.insert("number".to_owned(), Value::from(number));
        }
        let done = pull_request::complete(shapes, &self.key, &mut value, now);
        Some(done.map(|header| self.store.put(header, Some(value))))
    }
}

/// Bodies that were made on demand, the oldest of which go first.
#[derive(Default)]
struct Cache {
    bodies: HashMap<u64, Arc<Value>>,
    order: VecDeque<u64>,
}

impl Cache {
    /// About 100 MB of pull requests of ordinary size.
    const CAPACITY: usize = 600;

    fn insert(&mut self, number: u64, body: Arc<Value>) {
        if self.bodies.insert(number, body).is_none() {
            self.order.push_back(number);
        }
        while self.order.len() > Self::CAPACITY {
            if let Some(oldest) = self.order.pop_front() {
                self.bodies.remove(&oldest);
            }
        }
    }
}

struct Entry {
    header: Header,
    /// None while the source can make it.
    body: Option<Arc<Value>>,
    shown: Shown,
}

/// Where a pull request is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Shown {
    /// In lists, by number and by id.
    #[default]
    Everywhere,
    /// By number and by id; no list has it, and no total counts it.
    Unlisted,
    /// Nowhere, as if it had been deleted.
    Never,
}

/// Pull requests by number, with the orders in which they are listed.
#[derive(Default)]
pub(crate) struct Store {
    entries: BTreeMap<u64, Entry>,
    by_updated: BTreeMap<(Timestamp, u64), State>,
    by_created: BTreeMap<(Timestamp, u64), State>,
    ids: HashMap<String, u64>,
    watch: Option<Watch>,
}

/// What is noted of a store that is watched.
struct Watch {
    /// World time.
    at: Timestamp,
    changes: Vec<Change>,
    /// Bodies that were taken out, or made, to be changed.
    taken: HashMap<u64, Arc<Value>>,
}

/// A pull request became another one.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) number: u64,
    /// World time.
    pub(crate) at: Timestamp,
    /// None: it was not there.
    pub(crate) before: Option<Arc<Value>>,
    pub(crate) after: Arc<Value>,
}

/// What a list of pull requests is ordered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    CreatedAt,
    UpdatedAt,
}

/// Which part of a list is asked for. Keys are where a page ended: the time and number of its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paging {
    pub(crate) order: Order,
    pub(crate) descending: bool,
    /// None: every state.
    pub(crate) states: Option<Vec<State>>,
    pub(crate) after: Option<(Timestamp, u64)>,
    pub(crate) before: Option<(Timestamp, u64)>,
    pub(crate) count: usize,
    /// Take the last `count` instead of the first.
    pub(crate) from_end: bool,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Page {
    /// The place in the list (as in [`Paging`]) of each pull request.
    pub(crate) keys: Vec<(Timestamp, u64)>,
    pub(crate) has_next: bool,
    pub(crate) has_previous: bool,
}

impl Store {
    /// Adds a pull request, or replaces the one of the same number.
    pub(crate) fn put(&mut self, header: Header, body: Option<Value>) {
        let number = header.number;
        let entry = self.entries.get(&number);
        let shown = entry.map(|e| e.shown).unwrap_or_default();
        self.unlist(number);
        let body = body.map(Arc::new);
        if let (Some(watch), Some(after)) = (&mut self.watch, &body) {
            let held = self.entries.get(&number).and_then(|e| e.body.clone());
            watch.changes.push(Change {
                number,
                at: watch.at,
                before: watch.taken.remove(&number).or(held),
                after: Arc::clone(after),
            });
        }
        let entry = Entry {
            header,
            body,
            shown,
        };
        self.entries.insert(number, entry);
        self.list(number);
    }

    /// Says where a pull request is shown from now on. Says whether it exists.
    pub(crate) fn show(&mut self, number: u64, shown: Shown) -> bool {
        self.unlist(number);
        let entry = self.entries.get_mut(&number);
        let found = entry.map(|e| e.shown = shown).is_some();
        self.list(number);
        found
    }

    pub(crate) fn header(&self, number: u64) -> Option<&Header> {
        self.entries.get(&number).map(|e| &e.header)
    }

    /// The visible numbers, ascending.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        let entries = self.entries.iter();
        entries
            .filter(|(_, e)| e.shown != Shown::Never)
            .map(|(n, _)| *n)
            .collect()
    }

    /// Takes the body out, if it does not come from the source. It must be put back.
    pub(crate) fn take_body(&mut self, number: u64) -> Option<Value> {
        let held = self.entries.get_mut(&number)?.body.take()?;
        if let Some(watch) = &mut self.watch {
            watch.taken.insert(number, Arc::clone(&held));
        }
        Some(Arc::unwrap_or_clone(held))
    }

    /// The body, if it does not come from the source.
    pub(crate) fn body(&self, number: u64) -> Option<Arc<Value>> {
        self.entries.get(&number)?.body.clone()
    }

    /// Notes every change from now on.
    pub(crate) fn watch(&mut self, at: Timestamp) {
        self.watch = Some(Watch {
            at,
            changes: Vec::new(),
            taken: HashMap::new(),
        });
    }

    pub(crate) fn is_watched(&self) -> bool {
        self.watch.is_some()
    }

    /// Says when the changes happen that come next.
    pub(crate) fn set_time(&mut self, at: Timestamp) {
        if let Some(watch) = &mut self.watch {
            watch.at = at;
        }
    }

    /// Says what a pull request was that the source has made to be changed.
    pub(crate) fn was(&mut self, number: u64, body: impl FnOnce() -> Value) {
        if let Some(watch) = &mut self.watch {
            watch.taken.insert(number, Arc::new(body()));
        }
    }

    /// The changes that were noted since the last time.
    pub(crate) fn changes(&mut self) -> Vec<Change> {
        let watch = self.watch.as_mut();
        watch.map_or_else(Vec::new, |watch| std::mem::take(&mut watch.changes))
    }

    /// Whether there is a pull request of that number, shown or not.
    pub(crate) fn has(&self, number: u64) -> bool {
        self.entries.contains_key(&number)
    }

    /// The highest number there is, hidden ones included. 0 when there is none.
    pub(crate) fn last_number(&self) -> u64 {
        self.entries.last_key_value().map_or(0, |(n, _)| *n)
    }

    pub(crate) fn number_of(&self, id: &str) -> Option<u64> {
        self.ids.get(id).copied()
    }

    /// How many pull requests have one of `states`.
    pub(crate) fn count(&self, states: Option<&[State]>) -> usize {
        match states {
            None => self.by_created.len(),
            Some(states) => {
                let all = self.by_created.values();
                all.filter(|s| states.contains(s)).count()
            }
        }
    }

    /// A part of the list of pull requests.
    pub(crate) fn page(&self, ask: &Paging) -> Page {
        let list = match ask.order {
            Order::CreatedAt => &self.by_created,
            Order::UpdatedAt => &self.by_updated,
        };
        // In an ascending view of the list, `after` is the lower bound; in a descending one, the upper.
        let (low, high) = if ask.descending {
            (ask.before, ask.after)
        } else {
            (ask.after, ask.before)
        };
        let wanted = |state: &State| ask.states.as_ref().is_none_or(|s| s.contains(state));
        let below = low.is_some_and(|key| list.range(..=key).any(|(_, state)| wanted(state)));
        let above = high.is_some_and(|key| list.range(key..).any(|(_, state)| wanted(state)));
        let crossed = matches!((low, high), (Some(low), Some(high)) if low >= high);
        let bounds = (
            low.map_or(Bound::Unbounded, Bound::Excluded),
            high.map_or(Bound::Unbounded, Bound::Excluded),
        );

        let mut keys = Vec::with_capacity(ask.count);
        let mut more = false;
        let mut take = |iterator: &mut dyn Iterator<Item = (&(Timestamp, u64), &State)>| {
            for (key, _) in iterator.filter(|(_, state)| wanted(state)) {
                if keys.len() == ask.count {
                    more = true;
                    break;
                }
                keys.push(*key);
            }
        };
        // The first of a descending list and the last of an ascending one are found from the end.
        let backwards = ask.descending != ask.from_end;
        if !crossed {
            let mut range = list.range(bounds);
            if backwards {
                take(&mut range.rev());
            } else {
                take(&mut range);
            }
        }
        if ask.from_end {
            keys.reverse();
        }
        let (behind, ahead) = if ask.descending {
            (above, below)
        } else {
            (below, above)
        };
        Page {
            keys,
            has_next: ahead || (more && !ask.from_end),
            has_previous: behind || (more && ask.from_end),
        }
    }

    fn list(&mut self, number: u64) {
        let Some(Entry { header, shown, .. }) = self.entries.get(&number) else {
            return;
        };
        if *shown == Shown::Everywhere {
            let state = header.state;
            self.by_updated.insert((header.updated_at, number), state);
            self.by_created.insert((header.created_at, number), state);
        }
        if *shown != Shown::Never {
            self.ids.insert(header.id.clone(), number);
        }
    }

    fn unlist(&mut self, number: u64) {
        if let Some(Entry { header, .. }) = self.entries.get(&number) {
            self.by_updated.remove(&(header.updated_at, number));
            self.by_created.remove(&(header.created_at, number));
            self.ids.remove(&header.id);
        }
    }
}

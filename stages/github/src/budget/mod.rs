//! GitHub's budget, shared by all processes that use a token.
//!
//! A token's entry in the bucket of budgets ([`record`]) says where it stands with GitHub
//! ([`standing`]) and who may send a request now: a lease, one a token unless the deployment says
//! otherwise. It is held for a run of requests and given up when idle or when somebody else waits, so
//! that most requests cost no write; it is renewed while the request is under way. Every change of the
//! entry compares revisions, so a holder that was taken for dead finds out before it sends again.
//!
//! Requests wait here, the urgent ones first, for any token that may serve them ([`Budget::turn`]);
//! those that nobody will serve soon are refused with the time to wait. A [`worker`] per lease holds it
//! and gives the turns out.

mod account;
mod record;
mod sight;
mod standing;
mod worker;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prmirror_kit::CancellationToken;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

pub(crate) use account::{Account, Store};
pub(crate) use sight::About;
use standing::Leave;
pub(crate) use standing::{Rules, Told, Urgency};

use crate::error::Error;

/// What keeps its place in the queue for so long; who has to wait longer is told so.
const PATIENCE: Duration = Duration::from_secs(60);

/// Gives out turns.
pub(crate) struct Budget {
    shared: Arc<Shared>,
    workers: Mutex<Vec<(worker::Place, JoinHandle<()>)>>,
}

/// The right to send one request with a token, until it is dropped.
pub(crate) struct Turn {
    /// The token.
    pub(crate) account: Arc<Account>,
    /// Cancelled when the lease is lost: the request must not go on.
    pub(crate) lost: CancellationToken,
    /// Tells the worker, when dropped, that the turn is over.
    _over: oneshot::Sender<()>,
}

/// Nobody will serve it soon.
struct Refused {
    pause: Duration,
    secondary: bool,
}

type Ask = oneshot::Sender<Result<Turn, Refused>>;

/// A request that waits.
struct Waiting {
    about: About,
    ask: Ask,
}

struct Shared {
    accounts: Vec<Arc<Account>>,
    /// Begins the names of the holders of this process.
    name: String,
    lease: Duration,
    queues: Mutex<Queues>,
    /// Moves with every new request.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct Queues {
    realtime: VecDeque<Waiting>,
    bulk: VecDeque<Waiting>,
    closed: bool,
}

impl Queues {
    fn of(&mut self, urgency: Urgency) -> &mut VecDeque<Waiting> {
        match urgency {
            Urgency::Realtime => &mut self.realtime,
            Urgency::Bulk => &mut self.bulk,
        }
    }

    /// Those that still wait.
    fn waiting(&mut self, urgency: Urgency) -> &mut VecDeque<Waiting> {
        let queue = self.of(urgency);
        queue.retain(|one| !one.ask.is_closed());
        queue
    }
}

/// What there is to do for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Nothing,
    /// Something that it may do after this time.
    Later(Duration),
    Now(Urgency),
    /// Never again.
    Closed,
}

impl Budget {
    /// The budget of these tokens. `lease` is how long a dead process keeps the others waiting.
    pub(crate) fn new(accounts: Vec<Account>, stage: &str, lease: Duration) -> Self {
        let name = format!("{stage}-{}-{:08x}", std::process::id(), chance() as u32);
        Self {
            shared: Arc::new(Shared {
                accounts: accounts.into_iter().map(Arc::new).collect(),
                name,
                lease,
                queues: Mutex::default(),
                changed: watch::Sender::new(0),
            }),
            workers: Mutex::default(),
        }
    }

    /// How many tokens there are.
    pub(crate) fn tokens(&self) -> usize {
        self.shared.accounts.len()
    }

    /// How many turns there can be at once.
    pub(crate) fn most_in_flight(&self) -> usize {
        let accounts = self.shared.accounts.iter();
        accounts.map(|account| account.slots).sum()
    }

    /// The tokens that are to serve such a request.
    pub(crate) fn choice(&self, about: &About) -> Vec<Arc<Account>> {
        self.shared.choice(about).into_iter().cloned().collect()
    }

    /// All tokens.
    pub(crate) fn accounts(&self) -> &[Arc<Account>] {
        &self.shared.accounts
    }

    /// Waits for the right to send a request.
    ///
    /// # Errors
    /// [`Error::RateLimited`] or [`Error::SecondaryLimit`] when that will take long: nothing is sent.
    pub(crate) async fn turn(&self, urgency: Urgency, about: &About) -> Result<Turn, Error> {
        loop {
            self.employ();
            let (ask, answer) = oneshot::channel();
            let waiting = Waiting {
                about: about.clone(),
                ask,
            };
            self.shared.queues().of(urgency).push_back(waiting);
            self.shared.refuse();
            self.shared.changed.send_modify(|n| *n = n.wrapping_add(1));
            match answer.await {
                Ok(Ok(turn)) => return Ok(turn),
                Ok(Err(Refused { pause, secondary })) => {
                    return Err(if secondary {
                        Error::SecondaryLimit { retry_after: pause }
                    } else {
                        Error::RateLimited { retry_after: pause }
                    });
                }
                // The worker that had it ended with its runtime; there is another one here.
                Err(_) => {}
            }
        }
    }

    /// Sees to it that there are workers. Not before they are needed: a client may be made outside
    /// of any runtime.
    fn employ(&self) {
        let mut workers = self.workers.lock().unwrap_or_else(PoisonError::into_inner);
        if workers.is_empty() {
            for (account, slot) in self.shared.places() {
                let place = worker::Place { account, slot };
                let work = worker::spawn(&self.shared, &place);
                workers.push((place, work));
            }
        }
        for (place, work) in workers.iter_mut() {
            if work.is_finished() {
                *work = worker::spawn(&self.shared, place);
            }
        }
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.shared.queues().closed = true;
        self.shared.changed.send_modify(|n| *n = n.wrapping_add(1));
    }
}

impl Shared {
    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn places(&self) -> Vec<(Arc<Account>, usize)> {
        let accounts = self.accounts.iter();
        accounts
            .flat_map(|account| (0..account.slots).map(|slot| (Arc::clone(account), slot)))
            .collect()
    }

    /// What there is to do for a token.
    fn want(&self, account: &Account) -> Want {
        let mut queues = self.queues();
        if queues.closed {
            return Want::Closed;
        }
        let mut soonest: Option<Duration> = None;
        let mut later = |pause: Duration| {
            soonest = Some(soonest.map_or(pause, |known: Duration| known.min(pause)));
        };
        for urgency in [Urgency::Realtime, Urgency::Bulk] {
            let waiting = queues.waiting(urgency);
            if waiting.is_empty() {
                continue;
            }
            if !waiting.iter().any(|one| self.serves(account, &one.about)) {
                later(Duration::from_secs(1));
                continue;
            }
            match account.leave(urgency).at() {
                None => return Want::Now(urgency),
                Some(at) => later(until(account, at).max(Duration::from_millis(5))),
            }
        }
        soonest.map_or(Want::Nothing, Want::Later)
    }

    /// The next request that this token may serve now.
    fn take(&self, account: &Account) -> Option<Ask> {
        let mut queues = self.queues();
        if queues.closed {
            return None;
        }
        for urgency in [Urgency::Realtime, Urgency::Bulk] {
            if account.leave(urgency) != Leave::Now {
                continue;
            }
            let waiting = queues.waiting(urgency);
            let mut places = waiting.iter();
            if let Some(place) = places.position(|one| self.serves(account, &one.about)) {
                return waiting.remove(place).map(|one| one.ask);
            }
        }
        None
    }

    /// Refuses what no token will serve soon.
    fn refuse(&self) {
        let mut queues = self.queues();
        for urgency in [Urgency::Realtime, Urgency::Bulk] {
            let waiting = std::mem::take(queues.waiting(urgency));
            for one in waiting {
                match self.hopeless(urgency, &one.about) {
                    None => queues.of(urgency).push_back(one),
                    // Who has gone does not mind.
                    Some(refused) => drop(one.ask.send(Err(refused))),
                }
            }
        }
    }

    /// How long no token will serve such a request, if that is long.
    fn hopeless(&self, urgency: Urgency, about: &About) -> Option<Refused> {
        let mut soonest: Option<Refused> = None;
        for account in self.choice(about) {
            let (pause, secondary) = match account.leave(urgency) {
                Leave::Now => return None,
                Leave::Paced(at) if until(account, at) <= PATIENCE => return None,
                Leave::Paced(at) | Leave::Low(at) => (until(account, at), false),
                Leave::Paused(at) => (until(account, at), true),
            };
            if soonest.as_ref().is_none_or(|known| pause < known.pause) {
                soonest = Some(Refused { pause, secondary });
            }
        }
        soonest
    }
}

fn until(account: &Account, at: jiff::Timestamp) -> Duration {
    Duration::try_from(at.duration_since(account.now())).unwrap_or_default()
}

/// A number that nobody can foresee, and no two processes share.
pub(crate) fn chance() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::hash::RandomState::new().build_hasher().finish()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

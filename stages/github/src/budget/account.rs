//! One token: what is known of it here, and its entry in the bucket.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use prmirror_kit::{Bus, Kv, KvError};
use prmirror_proto::RepositoryName;
use prmirror_proto::subjects::BUCKET_BUDGETS;
use tokio::sync::OnceCell;

use super::record::Record;
use super::sight::{BELIEVED, BLIND};
use super::standing::{Leave, Rules, Standing, Urgency};
use crate::credential::Credential;

/// Where entries are kept.
pub(crate) enum Store {
    /// In this process: nobody else uses the token.
    Here,
    /// In the bucket of budgets.
    Shared(Box<Bus>, Box<OnceCell<Kv>>),
}

/// One token.
pub(crate) struct Account {
    pub(crate) credential: Credential,
    /// Tells tokens apart in records and keys, and gives nothing away.
    pub(crate) name: String,
    pub(crate) rules: Rules,
    /// Requests under way at once, over all processes.
    pub(crate) slots: usize,
    store: Store,
    /// The entry as last seen, with its revision. Whoever changes the entry holds the lock.
    entry: tokio::sync::Mutex<(Record, u64)>,
    knowledge: Mutex<Knowledge>,
}

/// What is known here; newer than the entry.
#[derive(Default)]
struct Knowledge {
    standing: Standing,
    /// How far GitHub's clock is ahead of ours.
    skew: Option<SignedDuration>,
    /// GitHub does not accept the token: others are asked first until then.
    shunned_until: Option<Instant>,
    /// Until when it was said that bulk work waits.
    low_said: Option<Timestamp>,
    /// Repositories that it is not shown and others are, until then.
    blind: HashMap<RepositoryName, Instant>,
    /// When it was shown something of a repository, the last time.
    shown: HashMap<RepositoryName, Instant>,
}

impl Account {
    pub(crate) fn new(credential: Credential, rules: Rules, slots: usize, store: Store) -> Self {
        Self {
            name: credential.fingerprint(),
            credential,
            rules,
            slots: slots.max(1),
            store,
            entry: tokio::sync::Mutex::default(),
            knowledge: Mutex::default(),
        }
    }

    fn knowledge(&self) -> MutexGuard<'_, Knowledge> {
        self.knowledge
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The time by GitHub's clock.
    pub(crate) fn now(&self) -> Timestamp {
        let skew = self.knowledge().skew.unwrap_or_default();
        let now = Timestamp::now();
        now.checked_add(skew).unwrap_or(now)
    }

    /// GitHub said what time it is.
    pub(crate) fn clock_told(&self, date: Timestamp) {
        let skew = date.duration_since(Timestamp::now());
        let mut knowledge = self.knowledge();
        // GitHub's time is cut to seconds, and the answer was under way.
        let differs = |known: SignedDuration| (skew - known).abs() > SignedDuration::from_secs(3);
        if knowledge.skew.is_none_or(differs) {
            let small = skew.abs() <= SignedDuration::from_secs(3);
            knowledge.skew = Some(if small { SignedDuration::ZERO } else { skew });
        }
    }

    /// Whether a request of this urgency may be sent, as far as is known here.
    pub(crate) fn leave(&self, urgency: Urgency) -> Leave {
        let now = self.now();
        self.knowledge().standing.leave(urgency, &self.rules, now)
    }

    /// Changes what is known here; it is written down with the next change of the entry.
    pub(crate) fn learn<T>(&self, change: impl FnOnce(&mut Standing, Timestamp) -> T) -> T {
        let now = self.now();
        let learned = change(&mut self.knowledge().standing, now);
        self.say_when_low(now);
        learned
    }

    fn say_when_low(&self, now: Timestamp) {
        let mut knowledge = self.knowledge();
        let Leave::Low(until) = knowledge.standing.leave(Urgency::Bulk, &self.rules, now) else {
            return;
        };
        // A reset that wavers by a second is the same.
        let said = knowledge.low_said;
        if said.is_none_or(|said| until.duration_since(said) > SignedDuration::from_secs(1)) {
            knowledge.low_said = Some(until);
            let remaining = knowledge.standing.remaining;
            tracing::warn!(
                token = self.name, remaining, %until,
                "points used up or below the floor; bulk work waits"
            );
        }
    }

    /// GitHub does not accept the token for now.
    pub(crate) fn shun(&self, time: Duration) {
        self.knowledge().shunned_until = Instant::now().checked_add(time);
    }

    pub(crate) fn is_shunned(&self) -> bool {
        let until = self.knowledge().shunned_until;
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Something of this repository is shown to the token.
    pub(crate) fn is_shown(&self, repository: &RepositoryName) {
        let mut knowledge = self.knowledge();
        knowledge.blind.remove(repository);
        knowledge.shown.insert(repository.clone(), Instant::now());
    }

    /// Nothing of what was asked of this repository is shown to the token, and something to another. Of
    /// one that was shown something of it just now that says only that a replica lags.
    pub(crate) fn is_not_shown(&self, repository: &RepositoryName) {
        let now = Instant::now();
        let mut knowledge = self.knowledge();
        let shown = knowledge.shown.get(repository);
        if shown.is_some_and(|at| at.elapsed() < BELIEVED) {
            return;
        }
        knowledge.blind.retain(|_, until| *until > now);
        let known = knowledge.blind.insert(repository.clone(), now + BLIND);
        drop(knowledge);
        if known.is_none() {
            tracing::info!(token = self.name, %repository, "the token is not shown it, another is");
        }
    }

    pub(crate) fn is_blind(&self, repository: &RepositoryName) -> bool {
        let until = self.knowledge().blind.get(repository).copied();
        until.is_some_and(|until| Instant::now() < until)
    }

    async fn kv(&self) -> Result<Option<&Kv>, KvError> {
        match &self.store {
            Store::Here => Ok(None),
            Store::Shared(bus, kv) => kv
                .get_or_try_init(|| bus.kv(BUCKET_BUDGETS))
                .await
                .map(Some),
        }
    }

    fn key(&self) -> String {
        format!("token.{}", self.name)
    }

    /// The entry as last seen.
    pub(crate) async fn seen(&self) -> Record {
        self.entry.lock().await.0.clone()
    }

    /// Reads the entry.
    pub(crate) async fn refresh(&self) -> Result<Record, KvError> {
        let mut entry = self.entry.lock().await;
        if let Some(kv) = self.kv().await? {
            *entry = self.read(kv).await?;
        }
        Ok(entry.0.clone())
    }

    async fn read(&self, kv: &Kv) -> Result<(Record, u64), KvError> {
        let key = self.key();
        let found = match kv.get::<Record>(&key).await {
            Err(error @ KvError::Value { .. }) => {
                // It is worth an hour's knowledge at most.
                tracing::warn!(%error, "a token's entry is made anew");
                kv.delete(&key).await?;
                None
            }
            other => other?,
        };
        let (record, revision) = found.map_or_else(Default::default, |e| (e.value, e.revision));
        let mut knowledge = self.knowledge();
        knowledge.standing.merge(&record.standing);
        if knowledge.skew.is_none() {
            // Somebody heard a later time from GitHub than our clock shows.
            let ahead = record
                .standing
                .told_at
                .map(|t| t.duration_since(Timestamp::now()));
            let ahead = ahead.filter(|ahead| *ahead > SignedDuration::from_secs(3));
            knowledge.skew = ahead;
        }
        Ok((record, revision))
    }

    /// Changes the entry as `change` says, which is called again on the newest entry when somebody
    /// else has changed it meanwhile. What is known here goes with it.
    pub(crate) async fn change<T>(
        &self,
        mut change: impl FnMut(&mut Record) -> T,
    ) -> Result<T, KvError> {
        let mut entry = self.entry.lock().await;
        loop {
            let (seen, revision) = &*entry;
            let (mut record, revision) = (seen.clone(), *revision);
            let result = change(&mut record);
            if record == *seen {
                return Ok(result);
            }
            record.standing.merge(&self.knowledge().standing);
            let Some(kv) = self.kv().await? else {
                self.knowledge().standing.merge(&record.standing);
                entry.0 = record;
                return Ok(result);
            };
            let key = self.key();
            let written = match revision {
                0 => kv.create(&key, &record).await,
                revision => kv.update(&key, &record, revision).await,
            };
            match written {
                Ok(revision) => {
                    self.knowledge().standing.merge(&record.standing);
                    *entry = (record, revision);
                    return Ok(result);
                }
                Err(KvError::Conflict { .. }) => *entry = self.read(kv).await?,
                Err(error) => return Err(error),
            }
        }
    }
}

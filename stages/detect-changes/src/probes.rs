//! Polls of all repositories share their questions: one for up to fifty of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prmirror_github::{Client, PROBED_AT_ONCE, Probed};
use prmirror_proto::RepositoryName;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a question waits for others at most.
const WAIT: Duration = Duration::from_millis(500);

type Question = (RepositoryName, oneshot::Sender<Option<Probed>>);

/// What asks for all repositories of a process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Probes {
    client: Client,
    /// All polls keep time from here on, so that they meet.
    begun: Instant,
    wait: Duration,
    waiting: Arc<Mutex<Vec<Question>>>,
}

impl Probes {
    /// For so many repositories, of which each asks so often.
    pub(crate) fn new(client: &Client, repositories: usize, every: Duration) -> Self {
        Self {
            client: client.clone(),
            begun: Instant::now(),
            wait: if repositories > 1 {
                WAIT.min(every / 10)
            } else {
                Duration::ZERO
            },
            waiting: Arc::default(),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Question>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long until the next poll, if they are so far apart.
    pub(crate) fn until_next(&self, every: Duration) -> Duration {
        until_next(self.begun.elapsed(), every)
    }

    /// How a repository is; `None` when that cannot be told, and whoever needs it must ask for itself.
    pub(crate) async fn ask(&self, repository: &RepositoryName) -> Option<Probed> {
        let (answer, told) = oneshot::channel();
        let first = {
            let mut waiting = self.waiting();
            waiting.push((repository.clone(), answer));
            waiting.len() == 1
        };
        if first {
            tokio::spawn(self.clone().gather());
        }
        told.await.ok().flatten()
    }

    /// Waits for others, and asks for all that came.
    async fn gather(self) {
        tokio::time::sleep(self.wait).await;
        let mut questions = std::mem::take(&mut *self.waiting());
        while !questions.is_empty() {
            let rest = questions.split_off(questions.len().min(PROBED_AT_ONCE));
            let names: Vec<RepositoryName> = questions.iter().map(|(r, _)| r.clone()).collect();
            let told = self.client.probe(&names).await;
            let mut told = match told {
                Ok(told) => told,
                Err(error) => {
                    tracing::debug!(%error, "{} repositories were not probed", names.len());
                    Vec::new()
                }
            }
            .into_iter();
            for (_, answer) in questions {
                // Who has gone does not mind.
                let _ = answer.send(told.next().flatten());
            }
            questions = rest;
        }
    }
}

fn until_next(elapsed: Duration, every: Duration) -> Duration {
    let into = elapsed.as_nanos().checked_rem(every.as_nanos());
    let into = into.and_then(|nanos| u64::try_from(nanos).ok());
    every.saturating_sub(Duration::from_nanos(into.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_meet_however_long_each_took() {
        let (second, every) = (Duration::from_secs(1), Duration::from_secs(30));
        assert_eq!(until_next(Duration::ZERO, every), every);
        assert_eq!(until_next(second * 31, every), second * 29);
        assert_eq!(until_next(second * 89, every), second);
        assert_eq!(until_next(second, Duration::ZERO), Duration::ZERO);
    }
}

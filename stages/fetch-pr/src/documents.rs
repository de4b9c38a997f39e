//! One query for many pull requests, split when it fails.

use std::time::Duration;

use prmirror_github::{Class, Error, PullRequestAnswer, Wanted};
use prmirror_kit::{Outcome, Outgoing};
use prmirror_proto::messages::{Fetched, Lane, Provenance};
use prmirror_proto::repository::RepositoryName;

use crate::attempts::page_sizes;
use crate::{FetchPr, Job};

impl FetchPr {
    /// Fetches the pull requests of one repository; an outcome for each place.
    pub(crate) async fn fetch(
        &self,
        repository: &RepositoryName,
        lane: Lane,
        jobs: Vec<Job>,
    ) -> Vec<(usize, Outcome)> {
        let mut outcomes = Vec::with_capacity(jobs.len());
        // What failed before is asked for alone, in smaller pages, and holds nobody up.
        let (suspects, sound): (Vec<Job>, Vec<Job>) = jobs
            .into_iter()
            .partition(|job| self.attempts.count(&name(job)) > 0);
        let mut queries: Vec<Vec<Job>> = suspects.into_iter().map(|job| vec![job]).collect();
        if !sound.is_empty() {
            queries.push(sound);
        }
        while let Some(jobs) = queries.pop() {
            let failures = match jobs.as_slice() {
                [only] => self.attempts.count(&name(only)),
                _ => 0,
            };
            let wanted: Vec<Wanted> = jobs
                .iter()
                .map(|job| Wanted {
                    number: job.request.number,
                    id: job.request.id.clone(),
                })
                .collect();
            let sizes = page_sizes(&self.config, failures);
            match self
                .client
                .pull_requests(repository, lane, &wanted, sizes)
                .await
            {
                Ok(answers) => {
                    for (job, answer) in jobs.iter().zip(answers) {
                        let outcome = match answer {
                            Ok(answer) => self.fetched(job, answer),
                            Err(error) => self.failed(job, &error),
                        };
                        outcomes.push((job.place, outcome));
                    }
                }
                Err(error) if error.class() == Class::Split && jobs.len() > 1 => {
                    tracing::info!(
                        pull_requests = jobs.len(), code = error.code(), %error,
                        "a query failed; asking for its halves"
                    );
                    let (left, right) = jobs.split_at(jobs.len() / 2);
                    queries.push(right.to_vec());
                    queries.push(left.to_vec());
                }
                Err(error) => {
                    for job in &jobs {
                        outcomes.push((job.place, self.failed(job, &error)));
                    }
                }
            }
        }
        outcomes
    }

    fn fetched(&self, job: &Job, answer: PullRequestAnswer) -> Outcome {
        self.attempts.settled(&name(job));
        let request = &job.request;
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
                request: job.cause.clone(),
            },
            outcome: answer.outcome,
        };
        match Outgoing::new(&fetched) {
            Ok(message) => Outcome::Emit(vec![message]),
            Err(error) => error.into(),
        }
    }

    /// What becomes of a pull request whose answer failed.
    fn failed(&self, job: &Job, error: &Error) -> Outcome {
        let reason = error.to_string();
        match error.class() {
            Class::Wait(pause) => Outcome::Retry {
                // Not all at the very moment at which the limit ends.
                after: pause + self.attempts.pause(1) / 4,
                reason,
            },
            // Nothing was wrong with this pull request: it keeps its good name.
            Class::Retry => Outcome::Retry {
                after: self.attempts.pause(2),
                reason,
            },
            Class::Split => {
                let failures = self.attempts.failed(&name(job));
                if failures >= self.config.max_attempts {
                    self.attempts.settled(&name(job));
                    return Outcome::Park {
                        code: error.code().to_owned(),
                        reason: format!("{failures} attempts failed; the last: {reason}"),
                    };
                }
                Outcome::Retry {
                    after: self.attempts.pause(failures),
                    reason,
                }
            }
            // A token can be replaced while everything waits.
            Class::Operator if matches!(error, Error::Unauthorized { .. }) => Outcome::Retry {
                after: Duration::from_secs(30),
                reason,
            },
            Class::Operator => Outcome::Park {
                code: error.code().to_owned(),
                reason,
            },
        }
    }
}

fn name(job: &Job) -> String {
    format!("{}#{}", job.request.repository, job.request.number)
}

//! Which pull requests are looked at.

use std::collections::{BTreeMap, BTreeSet};

use prmirror_proto::RepositoryName;

use super::chance::Urn;
use super::landed::Tables;
use super::read::ReadError;
use super::tally::Outcome;
use super::{Run, RunError, ended};

/// Numbers of which GitHub is asked at once what they are: a point, however many they are.
const NUMBERS: usize = 250;

/// Pull requests that are looked at besides a sample, at most.
const BESIDES: usize = 100;

/// How the name of a run begins that looks at open ones only: what it finds says nothing of the others, and the view
/// `repository_quality` knows it.
const OPEN: &str = "verify-open-";

impl Run {
    /// Which pull requests are looked at, by repository.
    pub(super) async fn choose(
        &mut self,
        repositories: &[RepositoryName],
        open: bool,
        sample: Option<u64>,
    ) -> Result<BTreeMap<RepositoryName, Vec<u64>>, RunError> {
        if open {
            self.tally.run.insert_str(0, OPEN);
        }
        let all = if open {
            self.listed(repositories).await?
        } else {
            self.numbered(repositories, sample).await?
        };
        let mut chosen: BTreeMap<RepositoryName, Vec<u64>> = BTreeMap::new();
        for (repository, number) in all {
            chosen.entry(repository).or_default().push(number);
        }
        if open {
            self.tally.population = chosen.values().map(|numbers| numbers.len() as u64).sum();
            if let Some(sample) = sample {
                chosen = some_of(chosen, sample, &self.tally.run);
            }
        }
        self.tally.chosen = chosen.values().map(|numbers| numbers.len() as u64).sum();
        self.tally.population = self.tally.population.max(self.tally.chosen);
        self.tally.besides = self.besides.len() as u64;
        for (repository, number) in &self.besides {
            chosen.entry(repository.clone()).or_default().push(*number);
        }
        chosen
            .values_mut()
            .for_each(|numbers| numbers.sort_unstable());
        Ok(chosen)
    }

    /// The open pull requests that GitHub lists, or that are known here.
    async fn listed(
        &mut self,
        repositories: &[RepositoryName],
    ) -> Result<Vec<(RepositoryName, u64)>, RunError> {
        let mut all = Vec::new();
        for repository in repositories {
            let mut numbers = Tables::new(&self.bus).known(repository, true).await?;
            numbers.extend(self.reader.numbers(repository).await.map_err(ended)?);
            all.extend(
                numbers
                    .into_iter()
                    .map(|number| (repository.clone(), number)),
            );
        }
        Ok(all)
    }

    /// Pull requests among the numbers that GitHub has given, or that are known here: so many, or all. What
    /// no list shows, and nothing here knows of, has the same chance as every other.
    async fn numbered(
        &mut self,
        repositories: &[RepositoryName],
        sample: Option<u64>,
    ) -> Result<Vec<(RepositoryName, u64)>, RunError> {
        let (mut ranges, mut unread) = (Vec::new(), None);
        for repository in repositories {
            let (known, count) = Tables::new(&self.bus).newest(repository).await?;
            let (newest, total) = match self.reader.newest(repository).await {
                Ok(told) => told,
                // One that is not shown keeps the others from nothing.
                Err(
                    error @ (ReadError::Unreadable(_) | ReadError::Moving | ReadError::Ended(_)),
                ) if repositories.len() > 1 => {
                    self.tally.add(Outcome::Unreadable {
                        repository: repository.clone(),
                        number: 0,
                        reason: error.to_string(),
                    });
                    unread = Some(error);
                    continue;
                }
                Err(error) => return Err(ended(error)),
            };
            ranges.push((repository.clone(), known.max(newest)));
            self.tally.population += count.max(total);
        }
        if let (true, Some(error)) = (ranges.is_empty(), unread) {
            return Err(ended(error));
        }
        let shown: Vec<RepositoryName> = ranges.iter().map(|(name, _)| name.clone()).collect();
        let most = usize::try_from(sample.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let mut urn = Urn::new(&self.tally.run, ranges);
        let mut chosen = Vec::new();
        while chosen.len() < most {
            let drawn: Vec<_> = std::iter::from_fn(|| urn.draw()).take(NUMBERS).collect();
            if drawn.is_empty() {
                break;
            }
            let mut there: BTreeSet<(RepositoryName, u64)> = BTreeSet::new();
            for repository in repositories {
                let of = drawn.iter().filter(|(name, _)| name == repository);
                let numbers: Vec<u64> = of.map(|(_, number)| *number).collect();
                if numbers.is_empty() {
                    continue;
                }
                let told = self.reader.pull_requests_among(repository, &numbers).await;
                let tables = Tables::new(&self.bus);
                let known = tables.known_among(repository, &numbers).await?;
                let found = told.map_err(ended)?.into_iter().chain(known);
                there.extend(found.map(|number| (repository.clone(), number)));
            }
            let drawn = drawn.into_iter().filter(|one| there.contains(one));
            chosen.extend(drawn.take(most - chosen.len()));
        }
        if sample.is_none() {
            self.tally.population = chosen.len() as u64;
        } else {
            // What waits to be seen right would wait until chance finds it again. None of it takes a draw's
            // place.
            let waiting = Tables::new(&self.bus).repaired(&shown, BESIDES).await?;
            let drawn: BTreeSet<_> = chosen.iter().collect();
            let waiting = waiting.into_iter().filter(|one| !drawn.contains(one));
            self.besides = waiting.collect();
        }
        Ok(chosen)
    }
}

/// So many of them, by chance.
fn some_of(
    all: BTreeMap<RepositoryName, Vec<u64>>,
    most: u64,
    salt: &str,
) -> BTreeMap<RepositoryName, Vec<u64>> {
    let places =
        |(name, numbers): (&RepositoryName, &Vec<u64>)| (name.clone(), numbers.len() as u64);
    let mut urn = Urn::new(salt, all.iter().map(places).collect());
    let mut chosen: BTreeMap<RepositoryName, Vec<u64>> = BTreeMap::new();
    for _ in 0..most {
        let Some((repository, place)) = urn.draw() else {
            break;
        };
        let at = usize::try_from(place - 1).unwrap_or(usize::MAX);
        let number = all.get(&repository).and_then(|numbers| numbers.get(at));
        chosen.entry(repository).or_default().extend(number);
    }
    chosen
}

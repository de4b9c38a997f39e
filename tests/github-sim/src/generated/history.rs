//! The history of a generated pull request, from its opening to the world's start.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::generated::life::Life;
use crate::generated::names;
use crate::generated::sizes::{PLAIN_THREAD_COMMENTS, Sizes};
use crate::random::Random;
use crate::world::RepositoryKey;
use crate::world::pull_request::{Header, State};

/// Something that happens to a pull request.
enum Act {
    Push { commits: u64, files: u64 },
    ForcePush,
    Label(&'static str),
    Unlabel(&'static str),
    Comment,
    Review { threads: u64 },
    RequestReview,
    Assign,
    Rename,
    Milestone,
    Draft,
    Reference,
}

/// Makes the pull request of `header` as it is at `now`: the same each time for the same seed. Plain ones
/// are all of the same size.
pub(super) fn history(
    (seed, plain): (u64, bool),
    key: &RepositoryKey,
    header: &Header,
    now: Timestamp,
) -> Value {
    let mut random = Random::of(&[seed, header.number, 2]);
    let sizes = if plain {
        Sizes::PLAIN
    } else {
        Sizes::draw(&mut random)
    };
    let (created, updated) = (header.created_at, header.updated_at);
    let untouched = !plain && header.updated_at == header.created_at;

    let first = if untouched {
        sizes.commits
    } else {
        random.between(1, sizes.commits)
    };
    let first_files = sizes.files * first / sizes.commits.max(1);
    let acts = if untouched {
        Vec::new()
    } else if plain {
        plain_acts(&sizes, first, first_files)
    } else {
        acts(&mut random, &sizes, first, first_files)
    };
    let life_random = Random::of(&[seed, header.number, 3]);
    let mut life = Life::open(key, header.number, &header.id, created, life_random);
    life.thread_comments = plain.then_some(PLAIN_THREAD_COMMENTS);
    life.push_commits(created, first, first_files);

    let span = updated.as_second() - created.as_second();
    let mut pushed = created;
    let last = acts.len().saturating_sub(1);
    for (index, (share, act)) in acts.into_iter().enumerate() {
        let is_last = index == last && header.state == State::Open;
        let at = if is_last {
            updated
        } else {
            after(created, (span as f64 * share) as i64)
        };
        if matches!(act, Act::Push { .. } | Act::ForcePush) {
            pushed = at;
        }
        perform(&mut life, at, act);
    }
    match header.state {
        State::Open => {}
        State::Closed => life.close(updated),
        State::Merged => life.merge(updated),
    }
    let is_checked = check(&mut life, &sizes, pushed, now);
    if is_checked && header.state == State::Open {
        // Nobody goes on waiting for checks that are finished.
        life.unlabel(updated, names::AWAITS_CHECKS);
    }
    if header.state == State::Open {
        life.mergeability();
    }
    // An act may have found nothing to do; the list of pull requests has promised this time.
    life.value["updatedAt"] = json!(updated.to_string());
    life.value
}

/// What happens between opening and end, and when: shares of that time, ascending.
fn acts(random: &mut Random, sizes: &Sizes, commits: u64, files: u64) -> Vec<(f64, Act)> {
    let mut acts = Vec::new();
    let mut add = |random: &mut Random, act: Act| acts.push((random.fraction(), act));
    let (mut commits, mut files) = (sizes.commits - commits, sizes.files - files);
    while commits > 0 || files > 0 {
        let some = random.between(1, commits.max(1));
        let share = if commits > some {
            files * some / commits
        } else {
            files
        };
        add(
            random,
            Act::Push {
                commits: some,
                files: share,
            },
        );
        commits = commits.saturating_sub(some);
        files -= share;
    }
    let mut threads = sizes.threads;
    for left in (1..=sizes.reviews).rev() {
        let some = if left == 1 {
            threads
        } else {
            random.between(0, (2 * threads / left).min(threads))
        };
        threads -= some;
        add(random, Act::Review { threads: some });
    }
    for _ in 0..sizes.comments {
        add(random, Act::Comment);
    }
    let mut often = |random: &mut Random, mean: f64, act: fn() -> Act| {
        for _ in 0..(random.exponential(mean) as u64) {
            add(random, act());
        }
    };
    often(random, 0.5, || Act::ForcePush);
    often(random, 0.6, || Act::RequestReview);
    often(random, 0.3, || Act::Assign);
    often(random, 0.8, || Act::Rename);
    often(random, 0.3, || Act::Milestone);
    often(random, 0.3, || Act::Draft);
    often(random, 1.0, || Act::Reference);
    let mut names: Vec<&'static str> = names::LABELS.iter().map(|(name, _)| *name).collect();
    for index in 0..(sizes.labels as usize).min(names.len()) {
        let other = random.between(index as u64, names.len() as u64 - 1) as usize;
        names.swap(index, other);
        acts.push((random.fraction(), Act::Label(names[index])));
    }
    // Others come and go.
    for name in names
        .into_iter()
        .skip(sizes.labels as usize)
        .take(random.exponential(2.0) as usize)
    {
        let (a, b) = (random.fraction(), random.fraction());
        acts.push((a.min(b), Act::Label(name)));
        acts.push((a.max(b), Act::Unlabel(name)));
    }
    if acts.is_empty() {
        acts.push((1.0, Act::Comment));
    }
    acts.sort_by(|a, b| a.0.total_cmp(&b.0));
    acts
}

/// The same for a plain pull request: nothing but what its sizes say.
fn plain_acts(sizes: &Sizes, commits: u64, files: u64) -> Vec<(f64, Act)> {
    let mut acts = Vec::new();
    if commits < sizes.commits || files < sizes.files {
        acts.push(Act::Push {
            commits: sizes.commits - commits,
            files: sizes.files - files,
        });
    }
    acts.extend((0..sizes.comments).map(|_| Act::Comment));
    acts.extend((0..sizes.reviews).map(|review| Act::Review {
        threads: if review == 0 { sizes.threads } else { 0 },
    }));
    let count = acts.len() as f64;
    let share = |(place, act)| ((place + 1) as f64 / count, act);
    acts.into_iter().enumerate().map(share).collect()
}

fn perform(life: &mut Life<'_>, at: Timestamp, act: Act) {
    match act {
        Act::Push { commits, files } => life.push_commits(at, commits, files),
        Act::ForcePush => life.force_push(at),
        Act::Label(name) => life.label(at, name),
        Act::Unlabel(name) => life.unlabel(at, name),
        Act::Comment => life.comment(at),
        Act::Review { threads } => life.review(at, threads),
        Act::RequestReview => life.request_review(at),
        Act::Assign => life.assign(at),
        Act::Rename => life.rename(at),
        Act::Milestone => life.milestone(at),
        Act::Draft => life.draft(at),
        Act::Reference => life.reference(at),
    }
}

/// The head's checks: finished, unless it was pushed just before the world's start. Whether they are.
fn check(life: &mut Life<'_>, sizes: &Sizes, pushed: Timestamp, now: Timestamp) -> bool {
    life.start_checks(after(pushed, 20).min(now), sizes.contexts);
    let takes = 300 + life.random.exponential(1_200.0) as i64;
    let finished = after(pushed, takes);
    if finished <= now {
        life.finish_checks(finished);
    }
    finished <= now
}

pub(super) fn after(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds))
        .unwrap_or(at)
}

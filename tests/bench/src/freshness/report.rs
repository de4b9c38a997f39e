//! What was measured, in Markdown.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::Timestamp;

use crate::estimate::{Accuracy, Estimate, FAR, NEAR, UNDATED};
use crate::lag::{Lag, percentile};
use crate::play::{BASE, Measured, PER_NODE};
use crate::scenario::POINTS;

const HEAD: &str = "\
| how changes are noticed | changes | p50 | p90 | p99 | worst | final states missed | points an hour | noticed by |
|---|--:|--:|--:|--:|--:|--:|--:|---|
";

/// Some of the changes of a scenario, which have a row, and goals, of their own.
struct Part {
    row: &'static str,
    /// What stands behind the name of a goal.
    words: &'static str,
    has: fn(&Lag) -> bool,
}

/// What moves no pull request up the list by `updatedAt`; and what CI alone did, which is part of that.
const PARTS: [Part; 2] = [
    Part {
        row: "(d) of these, `updatedAt` left alone",
        words: " where `updatedAt` was left alone",
        has: |lag| !lag.moved,
    },
    Part {
        row: "(d) of these, CI alone",
        words: " where only CI changed",
        has: |lag| lag.ci_only,
    },
];

impl Part {
    fn of<'l>(&self, lags: &'l [Lag]) -> Vec<&'l Lag> {
        lags.iter().filter(|lag| (self.has)(lag)).collect()
    }
}

/// What the recording says of the dashboard that made it.
const BEFORE: &str = "| the dashboard that was recorded | 9,260 | 6.5 min | 35 min | 4.0 d | 26.7 d | | | 42 % only by downloading everything again |\n";

/// One line of progress.
pub(crate) fn line(one: &Measured) -> String {
    let all: Vec<&Lag> = one.lags.iter().collect();
    let sorted = sorted(&all);
    let at = |share| percentile(&sorted, share).map_or_else(String::new, seconds);
    format!(
        "  {} changes: p50 {}, p90 {}, p99 {}, worst {}; {:.0} s",
        sorted.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        one.took.as_secs_f64()
    )
}

/// What was not kept of what is promised, in words.
pub(crate) fn broken(one: &Measured) -> Vec<String> {
    let goals = one.scenario.goals();
    let mut broken = unmeasured(one);
    let title = one.scenario.title();
    let mut hold = |what: &str, measured: f64, most: f64, shown: &dyn Fn(f64) -> String| {
        if measured > most {
            let (measured, most) = (shown(measured), shown(most));
            broken.push(format!(
                "{title}: {what} is {measured}, and at most {most} is promised"
            ));
        }
    };
    let parts = PARTS.iter().map(|part| (part.of(&one.lags), part.words));
    let every = std::iter::once((one.lags.iter().collect(), ""));
    for (lags, of) in every.chain(parts) {
        let sorted = sorted(&lags);
        for (what, share, most) in [
            ("p50", 0.5, goals.p50),
            ("p99", 0.99, goals.p99),
            ("the longest", 1.0, goals.worst),
        ] {
            if let Some(measured) = percentile(&sorted, share) {
                hold(&format!("{what}{of}"), measured, most, &seconds);
            }
        }
    }
    let count = |number: f64| format!("{number:.0}");
    hold("points an hour", one.looking + one.fetching, POINTS, &count);
    let missed = one.final_differences.len() as f64;
    hold("final states missed", missed, 0.0, &count);
    let accuracy = Accuracy::of(&one.estimates);
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let far = format!("what of `changed_at` is more than {NEAR:.0} s off");
    hold(&far, accuracy.far(), FAR, &percent);
    let undated = "what has no `changed_at` of its own";
    hold(undated, accuracy.undated(), UNDATED, &percent);
    broken
}

/// What did not happen, in words: where nothing was measured, nothing is beyond a bound either.
fn unmeasured(one: &Measured) -> Vec<String> {
    let title = one.scenario.title();
    let parts = PARTS
        .iter()
        .map(|part| (part.of(&one.lags).len(), part.words));
    let counts = std::iter::once((one.lags.len(), "")).chain(parts);
    let mut missing: Vec<String> = counts
        .filter(|(count, _)| *count == 0)
        .map(|(_, of)| format!("{title}: no change was measured{of}"))
        .collect();
    if Accuracy::of(&one.estimates).misses.is_empty() {
        missing.push(format!("{title}: no `changed_at` was measured"));
    }
    missing
}

/// The table, with what must be known to read it.
pub(crate) fn markdown(all: &[Measured], from: Timestamp, until: Timestamp) -> String {
    let mut text = HEAD.to_owned();
    for one in all {
        let every: Vec<&Lag> = one.lags.iter().collect();
        let points = format!("{:.0} + {:.0}", one.looking, one.fetching);
        let missed = one.final_differences.len().to_string();
        let title = one.scenario.title();
        row(&mut text, title, &every, &missed, &points);
        for part in &PARTS {
            row(&mut text, part.row, &part.of(&one.lags), "", "");
        }
    }
    text.push_str(BEFORE);
    let _ = writeln!(text, "\nPlayed: {from} to {until}, in recorded time.\n");
    let broken: Vec<String> = all.iter().flat_map(broken).collect();
    for line in &broken {
        let _ = writeln!(text, "- not kept: {line}");
    }
    for one in all {
        let sources: Vec<String> = one
            .sources
            .iter()
            .map(|(name, n)| format!("{name} {n}"))
            .collect();
        let _ = writeln!(
            text,
            "- {}: speed {}, {:.0} s; of the clock GitHub took {} for an answer and {} for each of its nodes; \
             waits for the next change were cut to {:.0} s; {} pull requests fetched whole, {} deliveries; \
             {} changes undone before anybody looked; versions by source: {}",
            one.scenario.title(),
            one.speed,
            one.took.as_secs_f64(),
            millis(BASE / one.speed),
            millis(PER_NODE / one.speed),
            one.scenario.played_of_a_wait().as_secs_f64(),
            one.fetched,
            one.deliveries,
            one.never,
            sources.join(", "),
        );
        for what in &one.final_differences {
            let _ = writeln!(text, "  - missed: {what}");
        }
        for lag in latest(&one.lags) {
            let _ = writeln!(
                text,
                "  - late: #{} changed {} and landed {} later, by {}",
                lag.number,
                lag.at,
                seconds(lag.seconds),
                lag.source
            );
        }
        estimated(&mut text, &one.estimates);
    }
    text.push_str(&explanation());
    text
}

/// How well the mirror knows when its versions came to be, and where it is wrong.
fn estimated(text: &mut String, estimates: &[Estimate]) {
    let accuracy = Accuracy::of(estimates);
    let at = |share| percentile(&accuracy.misses, share);
    let (Some(median), Some(most)) = (at(0.5), at(1.0)) else {
        let versions = accuracy.versions;
        let _ = writeln!(text, "  - `changed_at`: none, of {versions} versions");
        return;
    };
    let _ = writeln!(
        text,
        "  - `changed_at`: {} versions, {} with one of their own, of which {:.1} % ({}) are within {NEAR:.0} s of \
         the truth; the median is {} off, the worst {}",
        accuracy.versions,
        accuracy.misses.len(),
        100.0 * (1.0 - accuracy.far()),
        accuracy.near(),
        seconds(median),
        seconds(most),
    );
    for (one, error) in worst(estimates) {
        let _ = writeln!(
            text,
            "    - wrong: #{} changed {}, and is taken to have done so {} {}",
            one.number,
            one.truth,
            seconds(error.abs()),
            if error > 0.0 { "later" } else { "earlier" },
        );
    }
}

/// The three that are most wrong, of those that are.
fn worst(estimates: &[Estimate]) -> Vec<(&Estimate, f64)> {
    let mut all: Vec<(&Estimate, f64)> = estimates
        .iter()
        .filter_map(|one| Some((one, one.error()?)))
        .filter(|(_, error)| error.abs() > NEAR)
        .collect();
    all.sort_by(|(_, a), (_, b)| b.abs().total_cmp(&a.abs()));
    all.truncate(3);
    all
}

/// What must be known to read the table.
fn explanation() -> String {
    format!(
        "\nFrom the change on GitHub to the row, in recorded time. The mirror's intervals are as much shorter as \
         the world is\nfaster, and what the machine needs by itself counts as many times as long as it takes. GitHub \
         takes {} for an\nanswer to GraphQL and {} for each of its nodes, also in recorded time, or as long as \
         the simulator needs if that is\nlonger; how long it really took was not recorded. One token has one \
         request in flight, as by default. While nothing is\noutstanding, long waits for the next change are cut \
         short. Webhooks leave at the moment of the change, but for those\nthat are to be late: GitHub's own time \
         to deliver comes on top. Of fewer than a hundred changes p99 is the slowest one.\nPoints: of what looks \
         for changes, for each hour that was really played, and of what fetches them, for each hour of\nthe \
         stretch. *Final states missed*: lines of the comparison of every field of every pull request with GitHub \
         in the end.\n*CI alone*: nothing else of the pull request differed, but what GitHub computes when asked. \
         *Undone*: no version shows\nit; what was changed again is measured up to the version that shows both. \
         *`changed_at`*: what the view `freshness` says\nof when a version came to be, beside the newest change \
         that it is the first to show. At most {:.0} % may be more than\n{NEAR:.0} s off, and at most {:.0} % \
         without a time but that of being noticed. The times of checks are the simulator's own: the\nrecording \
         has none. The dashboard's row is of four weeks, from `updatedAt` to stored.\n",
        millis(BASE),
        millis(PER_NODE),
        100.0 * FAR,
        100.0 * UNDATED,
    )
}

/// Short times, which [`seconds`] would round to nothing.
fn millis(time: Duration) -> String {
    let millis = time.as_secs_f64() * 1e3;
    if millis < 10.0 {
        format!("{millis:.2} ms")
    } else {
        format!("{millis:.0} ms")
    }
}

fn row(text: &mut String, title: &str, lags: &[&Lag], missed: &str, points: &str) {
    let sorted = sorted(lags);
    let at = |share| percentile(&sorted, share).map_or_else(String::new, seconds);
    let mut sources = std::collections::BTreeMap::<&str, usize>::new();
    for lag in lags {
        *sources.entry(&lag.source).or_default() += 1;
    }
    let mut sources: Vec<_> = sources.into_iter().collect();
    sources.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let shares: Vec<String> = sources
        .iter()
        .map(|(name, count)| format!("{name} {:.0} %", 100.0 * *count as f64 / lags.len() as f64))
        .collect();
    let _ = writeln!(
        text,
        "| {title} | {} | {} | {} | {} | {} | {missed} | {points} | {} |",
        lags.len(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(1.0),
        shares.join(", "),
    );
}

fn sorted(lags: &[&Lag]) -> Vec<f64> {
    let mut seconds: Vec<f64> = lags.iter().map(|lag| lag.seconds).collect();
    seconds.sort_by(f64::total_cmp);
    seconds
}

/// The three that took longest.
fn latest(lags: &[Lag]) -> Vec<&Lag> {
    let mut all: Vec<&Lag> = lags.iter().collect();
    all.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    all.truncate(3);
    all
}

fn seconds(seconds: f64) -> String {
    if seconds < 100.0 {
        format!("{seconds:.1} s")
    } else if seconds < 6_000.0 {
        format!("{:.1} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3_600.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::scenario::Scenario;

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!(
            [4.25, 99.9, 390.0, 7_200.0].map(seconds),
            ["4.2 s", "99.9 s", "6.5 min", "2.0 h"]
        );
        let micros = [50_000, 800, 80].map(Duration::from_micros);
        assert_eq!(micros.map(millis), ["50 ms", "0.80 ms", "0.08 ms"]);
    }

    fn estimate(told: Option<i64>) -> Estimate {
        Estimate {
            number: 7,
            truth: Timestamp::UNIX_EPOCH,
            told: told.and_then(|second| Timestamp::from_second(second).ok()),
        }
    }

    fn measured(lags: Vec<Lag>, estimates: Vec<Estimate>) -> Measured {
        Measured {
            scenario: Scenario::Webhooks,
            speed: 4,
            lags,
            never: 0,
            estimates,
            sources: BTreeMap::new(),
            final_differences: Vec::new(),
            looking: 1.0,
            fetching: 1.0,
            fetched: 1,
            deliveries: 1,
            took: Duration::from_secs(1),
        }
    }

    /// One that moved `updatedAt` and one that only CI made.
    fn lags() -> Vec<Lag> {
        let lag = |moved: bool| Lag {
            number: 7,
            at: Timestamp::UNIX_EPOCH,
            moved,
            ci_only: !moved,
            seconds: 1.0,
            source: "webhook".to_owned(),
        };
        vec![lag(true), lag(false)]
    }

    #[test]
    fn what_was_not_measured_is_not_kept() {
        let good = measured(lags(), vec![estimate(Some(0))]);
        assert_eq!(broken(&good), Vec::<String>::new());
        let title = Scenario::Webhooks.title();
        let nothing = measured(Vec::new(), vec![estimate(None)]);
        assert_eq!(
            unmeasured(&nothing),
            [
                format!("{title}: no change was measured"),
                format!("{title}: no change was measured where `updatedAt` was left alone"),
                format!("{title}: no change was measured where only CI changed"),
                format!("{title}: no `changed_at` was measured"),
            ]
        );
        assert!(broken(&nothing).starts_with(&unmeasured(&nothing)));
    }

    #[test]
    fn estimates_that_are_wrong_or_missing_too_often_are_not_kept() {
        let of = |told: &[Option<i64>]| {
            let estimates = told.iter().copied().map(estimate).collect();
            broken(&measured(lags(), estimates))
        };
        let title = Scenario::Webhooks.title();
        let mut told = vec![Some(2); 9];
        told.push(Some(-60));
        assert_eq!(of(&told), Vec::<String>::new());
        told.push(Some(3));
        assert_eq!(
            of(&told),
            [format!(
                "{title}: what of `changed_at` is more than 2 s off is 18.2 %, and at most 10.0 % is promised"
            )]
        );
        assert_eq!(of(&[Some(0), None]), Vec::<String>::new());
        assert_eq!(
            of(&[Some(0), None, None]),
            [format!(
                "{title}: what has no `changed_at` of its own is 66.7 %, and at most 50.0 % is promised"
            )]
        );
    }

    #[test]
    fn the_report_tells_how_good_estimates_are_and_which_are_wrong() {
        let mut text = String::new();
        estimated(
            &mut text,
            &[Some(0), Some(1), Some(-90), None].map(estimate),
        );
        assert_eq!(
            text,
            "  - `changed_at`: 4 versions, 3 with one of their own, of which 66.7 % (2) are within 2 s of \
             the truth; the median is 1.0 s off, the worst 90.0 s\n    \
             - wrong: #7 changed 1970-01-01T00:00:00Z, and is taken to have done so 90.0 s earlier\n"
        );
        text.clear();
        estimated(&mut text, &[estimate(None)]);
        assert_eq!(text, "  - `changed_at`: none, of 1 versions\n");
    }

    #[test]
    fn rows_have_the_columns_of_the_head() {
        let lag = |seconds, source: &str| Lag {
            number: 1,
            at: Timestamp::UNIX_EPOCH,
            moved: true,
            ci_only: false,
            seconds,
            source: source.to_owned(),
        };
        let lags = [lag(1.0, "webhook"), lag(2.0, "webhook"), lag(30.0, "poll")];
        let mut text = String::new();
        row(
            &mut text,
            "some",
            &lags.iter().collect::<Vec<_>>(),
            "0",
            "1 + 2",
        );
        row(&mut text, "none", &[], "", "");
        let columns = |line: &str| line.matches('|').count();
        let all = text.lines().chain(HEAD.lines()).chain(BEFORE.lines());
        assert!(all.map(columns).all(|count| count == 10), "{text}");
        assert!(text.contains(
            "| some | 3 | 2.0 s | 30.0 s | 30.0 s | 30.0 s | 0 | 1 + 2 | webhook 67 %, poll 33 % |"
        ));
    }

    #[test]
    fn what_was_left_alone_and_what_only_ci_did_are_told_apart() {
        let lag = |number, moved, ci_only| Lag {
            number,
            at: Timestamp::UNIX_EPOCH,
            moved,
            ci_only,
            seconds: 1.0,
            source: "sweep".to_owned(),
        };
        let lags = [
            lag(1, true, false),
            lag(2, false, false),
            lag(3, false, true),
        ];
        let numbers = |part: &Part| {
            let some = part.of(&lags);
            some.iter().map(|lag| lag.number).collect::<Vec<u64>>()
        };
        assert_eq!(PARTS.each_ref().map(numbers), [vec![2, 3], vec![3]]);
    }
}

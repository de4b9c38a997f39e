//! What was measured, in Markdown.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::lag::{Lag, percentile};
use crate::play::Measured;
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
    let mut broken = Vec::new();
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
    broken
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
            "- {}: speed {}, {:.0} s; {} pull requests fetched whole, {} deliveries; {} changes overtaken \
             before anybody looked; versions by source: {}",
            one.scenario.title(),
            one.speed,
            one.took.as_secs_f64(),
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
    }
    text.push_str(
        "\nFrom the change on GitHub to the row, in recorded time: intervals are as much shorter as the world \
         is faster, so\nwhat the machine needs by itself counts as often, and the figures are upper bounds. \
         Waits for the next change are cut\nto some minutes while nothing is outstanding. Webhooks leave at the moment of \
         the change: GitHub's own time to deliver\ncomes on top. Points: of what looks for changes, and of \
         what fetches them. *Overtaken*: changed again, or back, before\na version was fetched; the next \
         version has it, or there was nothing to land. *Final states missed*: lines of the\ncomparison of \
         every field of every pull request with GitHub in the end. *CI alone*: nothing else of the pull request \
         differed.\n",
    );
    text
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
    use super::*;

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!(
            [4.25, 99.9, 390.0, 7_200.0].map(seconds),
            ["4.2 s", "99.9 s", "6.5 min", "2.0 h"]
        );
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

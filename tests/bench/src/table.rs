//! The table, in Markdown.

use std::fmt::Write as _;
use std::time::Duration;

use github_sim::Work;

use crate::BASE;
use crate::idle::{HASTE, LISTS, POLLS, REFETCH_HOURS, SAMPLE, SWEEP_HOURS, VERIFY_HOURS};
use crate::limits;
use crate::measure::{Cost, Measured};

const HEAD: &str = "\
| repository | what | points | requests | whole pull requests | seconds | points per 1,000 | bound per 1,000 |
|---|---|--:|--:|--:|--:|--:|--:|
";

/// What GitHub was like.
pub(crate) enum Conditions {
    /// It took so long for an answer, and had enough points for everything.
    Unlimited { latency: Duration, rate_limit: u64 },
    /// It worked as long as it does, with its limits, so many times as fast.
    Hour { work: Work, speed: u32 },
}

/// What was measured, with what must be known to read it.
pub(crate) fn markdown(all: &[Measured], conditions: &Conditions) -> String {
    let mut text = HEAD.to_owned();
    for one in all {
        rows(&mut text, one);
    }
    memory(&mut text, all);
    times(&mut text, all);
    let begins = match conditions {
        Conditions::Unlimited {
            latency,
            rate_limit,
        } => format!(
            "An answer of GitHub took {} ms more than the simulator needs; a token had {} points an hour, so \
             that\nno wait for the reset is counted; everything else is as it is by default.",
            latency.as_millis(),
            grouped(*rate_limit),
        ),
        Conditions::Hour { work, speed } => format!(
            "GitHub took {} ms for an answer and {} µs for each of its nodes, and gave up after {} s; one token \
             had\n5,000 points an hour, and the secondary limits held. Everything, the mirror's intervals \
             included, went {speed} times\nas fast, and seconds are so many times those of the clock.",
            work.base.as_millis(),
            work.per_node.as_micros(),
            work.limit.as_secs(),
        ),
    };
    // Writing to a text never fails.
    let _ = write!(
        text,
        "\n\
         {begins} *First mirror*: \
         from nothing until\na second look at everything agrees. *Idle hour*: {POLLS} polls, the \
         looks at the open pull requests, {LISTS} lists of them\nand the {SWEEP_HOURS}th part of a sweep of all, \
         measured at intervals up to {HASTE} times as short, in which no whole pull request\nwas fetched; and the \
         {REFETCH_HOURS}th part of fetching all that is open once more, and of verifying {SAMPLE} (every \
         {VERIFY_HOURS} hours),\neach measured by itself; seconds are those of GitHub's answers. The numbers that no list \
         shows are explained once,\nat most 50 points an hour after the first mirror, and in no idle hour. *Ten \
         changes*: made at once, right after a poll,\nuntil they have landed, the sweeps \
         meanwhile left out; per 1,000 of the ten. *Bound*: a request for each page of each\nlist that is \
         not empty, and for the comments of each review thread, in documents of 149, which cost a point\n\
         each: GitHub's formula. *Plain*: 3 commits, 2 reviews, 2 review comments, 2 comments a pull request.\n",
    );
    text
}

fn rows(text: &mut String, one: &Measured) {
    let repository = named(one);
    let all = one.pull_requests;
    let bound = Some(one.bound);
    let mut row = |repository: &str, what: &str, cost: Cost, of: u64, bound: Option<u64>, timed| {
        let seconds = if timed {
            format!("{:.1}", cost.seconds)
        } else {
            String::new()
        };
        let bound = bound.map_or_else(String::new, |bound| per_thousand(bound, of));
        let _ = writeln!(
            text,
            "| {repository} | {what} | {} | {} | {} | {seconds} | {} | {bound} |",
            grouped(cost.points),
            grouped(cost.requests),
            grouped(cost.whole),
            per_thousand(cost.points, of),
        );
    };
    row(&repository, "first mirror", one.first, all, None, true);
    row("", "of it, fetching", one.first_fetched, all, bound, false);
    let Some(later) = &one.later else {
        return;
    };
    let idle = &later.idle;
    for (what, cost) in [
        ("an hour's polls, nothing new", idle.polls),
        ("an hour's looks at the open", idle.looks),
        ("a list of the open", idle.open_list),
        ("a sweep of all", idle.full_sweep),
        ("fetching all the open again", idle.refetch),
        ("verifying a sample", idle.verification),
        ("idle hour", idle.hour()),
    ] {
        row("", what, cost, all, None, true);
    }
    row("", "numbers, once", idle.numbers, all, None, false);
    let (of, bound) = (later.changed, Some(later.changes_bound));
    row("", "ten changes", later.changes, of, bound, true);
}

fn named(one: &Measured) -> String {
    format!("{}, {}", grouped(one.pull_requests), one.what)
}

/// The most memory that each process has had in RAM.
fn memory(text: &mut String, all: &[Measured]) {
    let Some(first) = all.first() else {
        return;
    };
    let cells = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let names = first.memory.iter().map(|(name, _)| (*name).to_owned());
    text.push('\n');
    text.push_str(&cells(
        std::iter::once("first mirror, MiB in RAM at most".to_owned())
            .chain(names)
            .collect(),
    ));
    text.push_str("|---|");
    text.push_str(&"--:|".repeat(first.memory.len()));
    text.push('\n');
    for one in all {
        let bytes = one.memory.iter().map(|(_, bytes)| grouped(bytes >> 20));
        text.push_str(&cells(std::iter::once(named(one)).chain(bytes).collect()));
    }
}

/// How quick GitHub must be for the first mirror within one token's hour.
fn times(text: &mut String, all: &[Measured]) {
    let base = BASE.as_millis();
    // Writing to a text never fails.
    let _ = write!(
        text,
        "\n| first mirror within one token's hour | requests | nodes | µs a node at most, with {base} ms a request |\n\
         |---|--:|--:|--:|\n"
    );
    for one in all {
        let most = limits::node_time_of_an_hour(one, BASE);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            named(one),
            grouped(one.first.requests),
            grouped(one.nodes),
            most.map_or_else(|| "not possible".to_owned(), grouped),
        );
    }
}

fn per_thousand(points: u64, of: u64) -> String {
    let tenths = (points * 10_000 + of / 2) / of.max(1);
    format!("{}.{}", grouped(tenths / 10), tenths % 10)
}

/// `1,010,000`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::idle::Idle;
    use crate::measure::Later;

    fn cost(points: u64, requests: u64) -> Cost {
        Cost {
            points,
            requests,
            ..Cost::default()
        }
    }

    #[test]
    fn per_thousand_is_rounded_to_a_tenth() {
        assert_eq!(per_thousand(306, 250), "1,224.0");
        assert_eq!(per_thousand(2, 3), "666.7");
        assert_eq!(per_thousand(1, 0), "1,000.0");
    }

    #[test]
    fn an_hour_is_added_up_and_rows_have_the_columns_of_the_head() {
        let measured = Measured {
            what: "generated",
            pull_requests: 2_000,
            first: cost(1_300, 40),
            first_fetched: cost(150, 30),
            bound: 140,
            memory: vec![("fetch-pr", 41 << 20), ("publish", 2_000 << 20)],
            nodes: 200_000,
            timed_out: 0,
            later: Some(Later {
                idle: Idle {
                    polls: cost(120, 120),
                    looks: cost(30, 30),
                    open_list: cost(4, 4),
                    full_sweep: cost(28, 28),
                    refetch: cost(30, 25),
                    verification: cost(96, 96),
                    numbers: cost(70, 70),
                },
                changed: 10,
                changes: cost(3, 2),
                changes_bound: 1,
            }),
        };
        let first_only = Measured {
            what: "large",
            later: None,
            ..measured.clone()
        };
        let text = markdown(
            &[measured, first_only],
            &Conditions::Unlimited {
                latency: Duration::from_millis(50),
                rate_limit: 1_000_000,
            },
        );
        let row = |what: &str| text.lines().find(|line| line.contains(what)).unwrap_or("");
        assert_eq!(
            row("first mirror |"),
            "| 2,000, generated | first mirror | 1,300 | 40 | 0 | 0.0 | 650.0 |  |"
        );
        assert_eq!(
            row("of it"),
            "|  | of it, fetching | 150 | 30 | 0 |  | 75.0 | 70.0 |"
        );
        assert_eq!(
            row("idle hour |"),
            "|  | idle hour | 169 | 169 | 0 | 0.0 | 84.5 |  |"
        );
        assert_eq!(
            row("numbers, once"),
            "|  | numbers, once | 70 | 70 | 0 |  | 35.0 |  |"
        );
        assert_eq!(
            row("ten changes |"),
            "|  | ten changes | 3 | 2 | 0 | 0.0 | 300.0 | 100.0 |"
        );
        assert!(text.contains("took 50 ms more"));
        assert_eq!(
            row("| 200,000"),
            "| 2,000, generated | 40 | 200,000 | 17,960 |"
        );
        let hour = Conditions::Hour {
            work: Work::default(),
            speed: 4,
        };
        assert!(markdown(&[], &hour).contains("80 ms for an answer and 5000 µs"));
        assert_eq!(row("| 41"), "| 2,000, generated | 41 | 2,000 |");
        assert_eq!(
            row("large | first mirror"),
            "| 2,000, large | first mirror | 1,300 | 40 | 0 | 0.0 | 650.0 |  |"
        );
        let columns = |line: &str| line.matches('|').count();
        let table = text.lines().take_while(|line| !line.is_empty());
        assert!(table.map(columns).all(|count| count == 9));
    }
}

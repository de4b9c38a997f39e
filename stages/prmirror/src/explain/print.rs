//! An explanation for people.

use std::fmt::Write as _;

use serde_json::Value;

use super::Explanation;
use super::journey::Journey;
use super::source::Record;
use crate::summary::why_parked;

/// A value as people read it.
pub(super) fn value(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        Value::String(text) => text.clone(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            other.to_string()
        }
    }
}

fn of(record: &Record, name: &str) -> String {
    record.get(name).map_or_else(|| "nothing".to_owned(), value)
}

/// The head of a digest or of a list of lines.
fn short(text: &str) -> String {
    text.chars().take(12).collect()
}

/// All of it.
pub(super) fn text(told: &Explanation) -> String {
    let mut text = String::new();
    // Writing to a text never fails.
    let _ = write(&mut text, told);
    text
}

fn write(f: &mut String, told: &Explanation) -> std::fmt::Result {
    writeln!(
        f,
        "{}#{} (tables: {})",
        told.repository, told.number, told.tables
    )?;
    for note in &told.notes {
        writeln!(f, "  note: {note}")?;
    }
    match &told.github {
        Some(seen) => {
            writeln!(
                f,
                "\nGitHub    {}, updated {}, head {}, CI {}",
                of(seen, "state"),
                of(seen, "updated_at"),
                short(&of(seen, "head_ref_oid")),
                of(seen, "checks_state"),
            )?;
            writeln!(
                f,
                "          as a {} listed it at {} ({})",
                of(seen, "source"),
                of(seen, "observed_at"),
                of(seen, "scan")
            )?;
        }
        None => writeln!(f, "\nGitHub    no poll, sweep or backfill has listed it")?,
    }
    if let Some(told) = &told.no_pull_request {
        let kind = match of(told, "kind").as_str() {
            "issue" => "it is an issue".to_owned(),
            "gone" => "nothing has this number: it was deleted, or never given".to_owned(),
            other => format!("it is no pull request: {other}"),
        };
        let at = of(told, "observed_at");
        writeln!(f, "          asked for the number at {at}: {kind}")?;
    }
    landed(f, told)?;
    if !told.versions.is_empty() {
        writeln!(f, "\nVersions, newest first")?;
    }
    for version in &told.versions {
        writeln!(
            f,
            "  {}  {} {} ({} events, noticed by {} at {}, landed {})",
            of(version, "observed_at"),
            of(version, "kind"),
            short(&of(version, "version")),
            of(version, "events"),
            of(version, "source"),
            of(version, "noticed_at"),
            of(version, "landed_at"),
        )?;
    }
    if let Some(requests) = told.requests {
        writeln!(
            f,
            "\nJourneys, the newest {} of {requests} that are kept",
            told.journeys.len()
        )?;
    }
    for journey in &told.journeys {
        write_journey(f, journey)?;
    }
    problems(f, told)?;
    writeln!(f, "\nPending")?;
    if told.pending.is_empty() {
        writeln!(f, "  nothing")?;
    }
    for pending in &told.pending {
        writeln!(f, "  {pending}")?;
    }
    writeln!(f, "\nNext")?;
    for next in &told.next {
        writeln!(f, "  {next}")?;
    }
    Ok(())
}

fn landed(f: &mut String, told: &Explanation) -> std::fmt::Result {
    let Some(landed) = &told.landed else {
        return writeln!(f, "Landed    nothing");
    };
    writeln!(
        f,
        "Landed    {}, updated {}, head {}, CI {}: {:?}",
        of(landed, "state"),
        of(landed, "updated_at"),
        short(&of(landed, "head_ref_oid")),
        of(landed, "checks_state"),
        of(landed, "title"),
    )?;
    writeln!(
        f,
        "          version {}, observed at {}, confirmed at {}, landed {}",
        short(&of(landed, "version")),
        of(landed, "content_observed_at"),
        of(landed, "observed_at"),
        of(landed, "landed_at"),
    )?;
    writeln!(
        f,
        "          from {} (noticed by {} at {}, {} lane)",
        of(landed, "request"),
        of(landed, "source"),
        of(landed, "noticed_at"),
        of(landed, "lane"),
    )?;
    if landed.get("gone_at").is_some_and(|gone| !gone.is_null()) {
        writeln!(
            f,
            "          GitHub has not had it since {}",
            of(landed, "gone_at")
        )?;
    }
    match told.agrees {
        Some(true) => writeln!(f, "          agrees with what GitHub listed")?,
        Some(false) => writeln!(f, "          is not as GitHub listed it")?,
        None => {}
    }
    for list in &told.collections {
        writeln!(
            f,
            "          the list {} is {}: {} of {}",
            of(list, "collection"),
            of(list, "completeness"),
            of(list, "held"),
            of(list, "total")
        )?;
    }
    if let Some(accepted) = &told.accepted {
        let version = accepted.get("version").map_or_else(String::new, value);
        let at = accepted.get("observed_at").map_or_else(String::new, value);
        writeln!(f, "Accepted  version {}, observed at {at}", short(&version))?;
    }
    Ok(())
}

fn write_journey(f: &mut String, journey: &Journey) -> std::fmt::Result {
    writeln!(f, "  {}", journey.request)?;
    if let Some(noticed) = &journey.noticed {
        writeln!(f, "    noticed {noticed}")?;
    }
    let mut before = None;
    for step in &journey.steps {
        let after = before.map_or_else(String::new, |before| {
            format!(" +{:.3} s", step.at.duration_since(before).as_secs_f64())
        });
        before = Some(step.at);
        writeln!(
            f,
            "    {:.3}{after:<10}  {:<15} {} ({} {})",
            step.at, step.stage, step.says, step.stream, step.sequence
        )?;
    }
    if let Some(waits) = &journey.waits {
        writeln!(f, "    no further: {waits}")?;
    }
    Ok(())
}

fn problems(f: &mut String, told: &Explanation) -> std::fmt::Result {
    if let Some(parked) = &told.parked {
        writeln!(f, "\nParked: of its repository {}", why_parked(parked))?;
    }
    if let Some(stubborn) = &told.stubborn {
        writeln!(
            f,
            "\nStubborn  whole answers failed {} times in a row since {:.0}",
            stubborn.attempts, stubborn.since
        )?;
        let (code, error) = (&stubborn.code, &stubborn.last_error);
        writeln!(f, "  the last failure: {code}, {error}")?;
        match stubborn.header_at {
            Some(at) => writeln!(f, "  its header landed without its lists at {at:.0}")?,
            None => writeln!(f, "  nothing of it has landed meanwhile")?,
        }
    }
    if !told.findings.is_empty() {
        writeln!(f, "\nFindings")?;
    }
    for finding in &told.findings {
        writeln!(
            f,
            "  {} ({}, {}) since {}: {}",
            of(finding, "rule"),
            of(finding, "status"),
            of(finding, "severity"),
            of(finding, "opened_at"),
            of(finding, "reason"),
        )?;
        let id = of(finding, "id");
        for noted in told.finding_history.iter().filter(|h| of(h, "id") == id) {
            writeln!(
                f,
                "    {}  {} (attempt {}): {}",
                of(noted, "noted_at"),
                of(noted, "status"),
                of(noted, "attempt"),
                of(noted, "reason")
            )?;
        }
    }
    if !told.quarantine.is_empty() {
        writeln!(f, "\nSet aside (prmirror quarantine show SEQ)")?;
    }
    for aside in &told.quarantine {
        let open = aside.get("is_open") == Some(&Value::Bool(true));
        writeln!(
            f,
            "  {} at {} by {}, {}: {}, {}",
            of(aside, "sequence"),
            of(aside, "quarantined_at"),
            of(aside, "stage"),
            if open { "open" } else { "settled" },
            of(aside, "code"),
            of(aside, "reason"),
        )?;
    }
    if let Some(last) = told.verifications.first() {
        writeln!(
            f,
            "\nVerified at {}: {} fields, {} differences",
            of(last, "observed_at"),
            of(last, "fields"),
            told.differences.len()
        )?;
    }
    for difference in &told.differences {
        writeln!(
            f,
            "  {} {} {}: landed {}, GitHub said {}",
            of(difference, "table_name"),
            of(difference, "row_key"),
            of(difference, "column_name"),
            of(difference, "landed"),
            of(difference, "github"),
        )?;
    }
    Ok(())
}

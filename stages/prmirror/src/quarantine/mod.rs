//! `quarantine`: what could not be processed is looked at, handed on again, or dropped with a reason.

mod entries;
mod print;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use jiff::Timestamp;
use prmirror_kit::config::Pipeline;
use prmirror_kit::{Bus, Outgoing};
use prmirror_proto::subjects::STREAM_QUARANTINE;
use prmirror_proto::{Decision, QuarantineDecision, RepositoryName};

use crate::arguments::{EXIT_COMPLETE, EXIT_FAILURE, EXIT_GAPS, Place, Unusable};
use crate::ask::connect;
use entries::{Entry, Quarantine, State};

/// What `quarantine` does.
#[derive(Debug, Subcommand)]
pub(crate) enum QuarantineCommand {
    /// Show what was set aside and is still open
    List {
        #[command(flatten)]
        place: Place,
        /// Only what this stage set aside
        #[arg(long, value_name = "STAGE")]
        stage: Option<String>,
        /// Only what was set aside for this reason
        #[arg(long, value_name = "CODE")]
        code: Option<String>,
        /// Only this repository
        #[arg(long, value_name = "OWNER/NAME")]
        repository: Option<RepositoryName>,
        /// With what was released, dropped, or made good by a later observation
        #[arg(long)]
        all: bool,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one message: its body, its headers, why it was set aside and what helps
    Show {
        #[command(flatten)]
        place: Place,
        /// Its number in the list
        #[arg(value_name = "SEQ")]
        sequence: u64,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Hand messages to their stages again, as they came: after what broke them was mended
    Release {
        #[command(flatten)]
        chosen: Chosen,
        /// Why, for others who look
        #[arg(long, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Note that messages are not to be processed; they stay to be looked at
    Drop {
        #[command(flatten)]
        chosen: Chosen,
        /// Why, for others who look
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// Which messages.
#[derive(Clone, Debug, Args)]
pub(crate) struct Chosen {
    #[command(flatten)]
    place: Place,
    /// Their numbers in the list
    #[arg(value_name = "SEQ", required = true)]
    sequences: Vec<u64>,
}

/// Runs a subcommand.
pub(crate) async fn quarantine(command: QuarantineCommand) -> anyhow::Result<u8> {
    match command {
        QuarantineCommand::List {
            place,
            stage,
            code,
            repository,
            all,
            json,
        } => {
            let bus = connect(&place).await?;
            let Quarantine {
                mut entries,
                removed,
            } = entries::all(&bus).await?;
            let total = entries.len();
            entries.retain(|entry| {
                let message = &entry.message;
                (all || entry.state == State::Open)
                    && stage.as_ref().is_none_or(|stage| message.stage == *stage)
                    && code.as_ref().is_none_or(|code| message.code == *code)
                    && (repository.is_none() || message.repository == repository)
            });
            if json {
                let list: Vec<_> = entries.iter().map(Entry::json).collect();
                println!("{}", serde_json::to_string_pretty(&list)?);
            } else {
                print::out(&print::list(
                    &entries,
                    total,
                    &removed,
                    &kept(&place.running()?),
                ))?;
            }
            Ok(EXIT_COMPLETE)
        }
        QuarantineCommand::Show {
            place,
            sequence,
            json,
        } => {
            let bus = connect(&place).await?;
            let entry = one(&bus, sequence).await?;
            if json {
                let mut shown = entry.json();
                let body = entry.body().map(|body| print::body_json(&body));
                shown["body"] = body.unwrap_or_else(|error| error.to_string().into());
                shown["page"] = crate::pages::page(&entry.message.code).into();
                print::out(&format!("{}\n", serde_json::to_string_pretty(&shown)?))?;
            } else {
                print::out(&print::show(&entry, &kept(&place.running()?)))?;
            }
            Ok(EXIT_COMPLETE)
        }
        QuarantineCommand::Release { chosen, reason } => {
            decide(&chosen, Decision::Released, reason).await
        }
        QuarantineCommand::Drop { chosen, reason } => {
            if reason.trim().is_empty() {
                anyhow::bail!(Unusable("--reason: say why it is dropped".to_owned()));
            }
            decide(&chosen, Decision::Dropped, Some(reason)).await
        }
    }
}

/// How long things stay in the quarantine, in words.
fn kept(pipeline: &Pipeline) -> String {
    let limits = pipeline.streams.limits(STREAM_QUARANTINE);
    let age = if limits.max_age.is_zero() {
        "it is kept without end".to_owned()
    } else {
        let hours = limits.max_age.as_secs_f64() / 3_600.0;
        let (many, unit) = if hours < 48.0 {
            (hours, "hours")
        } else {
            (hours / 24.0, "days")
        };
        format!("it is kept for {many:.0} {unit} (streams.PR_QUARANTINE.max_age)")
    };
    if limits.max_bytes == 0 {
        return age;
    }
    format!(
        "{age}, the newest {} bytes of it (streams.PR_QUARANTINE.max_bytes)",
        limits.max_bytes
    )
}

async fn one(bus: &Bus, sequence: u64) -> anyhow::Result<Entry> {
    let Quarantine { entries, removed } = entries::all(bus).await?;
    anyhow::ensure!(
        !removed.contains(&sequence),
        "{sequence} is no longer kept (streams.PR_QUARANTINE): `prmirror sql \"SELECT * FROM quarantine WHERE \
         sequence = {sequence}\"` tells what it was"
    );
    let found = entries.into_iter().find(|e| e.sequence == sequence);
    found.with_context(|| {
        format!(
            "nothing with the number {sequence} is in the quarantine: `prmirror quarantine list --all` \
             shows what is"
        )
    })
}

/// Decides about messages one after the other; what fails does not keep the others.
async fn decide(chosen: &Chosen, decision: Decision, reason: Option<String>) -> anyhow::Result<u8> {
    let bus = connect(&chosen.place).await?;
    let entries = entries::all(&bus).await?.entries;
    let mut code = EXIT_COMPLETE;
    for sequence in &chosen.sequences {
        let Some(entry) = entries.iter().find(|entry| entry.sequence == *sequence) else {
            eprintln!("prmirror: nothing with the number {sequence} is in the quarantine");
            code = EXIT_FAILURE;
            continue;
        };
        match decide_one(&bus, entry, decision, reason.clone()).await {
            Ok(said) => println!("{sequence}: {said}"),
            Err(error) => {
                eprintln!("prmirror: {sequence}: {error:#}");
                code = if code == EXIT_FAILURE {
                    code
                } else {
                    EXIT_GAPS
                };
            }
        }
    }
    Ok(code)
}

async fn decide_one(
    bus: &Bus,
    entry: &Entry,
    decision: Decision,
    reason: Option<String>,
) -> anyhow::Result<String> {
    let message = &entry.message;
    let decided_at = Timestamp::now();
    let said = match decision {
        Decision::Released => {
            // Under an id of its own: the broker would take it for a repetition.
            let id = format!(
                "released:{}:{}:{}",
                entry.sequence,
                decided_at.as_microsecond(),
                entry.original_id()
            );
            let receipt = bus
                .republish(
                    &message.original_subject,
                    &message.original_headers,
                    entry.original_body()?.into(),
                    &id,
                )
                .await
                .with_context(|| {
                    format!(
                        "cannot be published on {} again; nothing was changed",
                        message.original_subject
                    )
                })?;
            format!(
                "released on {} as message {}",
                message.original_subject, receipt.sequence
            )
        }
        Decision::Dropped => "dropped; it stays to be looked at".to_owned(),
    };
    let decided = QuarantineDecision {
        sequence: entry.sequence,
        message_id: entry.message_id.clone(),
        stage: message.stage.clone(),
        decision,
        reason,
        decided_at,
    };
    let cause = Some(entry.message_id.as_str());
    bus.publish(Outgoing::new(&decided)?, cause)
        .await
        .context("the decision cannot be noted")?;
    Ok(said)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_told_as_it_is_configured() {
        let kept = |toml: &str| {
            let pipeline = Pipeline::parse(&format!("[streams.PR_QUARANTINE]\n{toml}"), "a test");
            super::kept(&pipeline.unwrap())
        };
        let age = "it is kept for 90 days (streams.PR_QUARANTINE.max_age)";
        assert_eq!(kept(""), age);
        assert_eq!(
            kept("max_age = \"12h\""),
            "it is kept for 12 hours (streams.PR_QUARANTINE.max_age)"
        );
        assert_eq!(
            kept("max_bytes = \"64KiB\""),
            format!("{age}, the newest 65536 bytes of it (streams.PR_QUARANTINE.max_bytes)")
        );
        assert_eq!(kept("max_age = \"0s\""), "it is kept without end");
    }
}

//! `doctor`: what is missing on this machine, and how to get it.

use prmirror_kit::config::{Pipeline, STAGES};
use prmirror_kit::server::find_program;

use crate::arguments::{EXIT_COMPLETE, EXIT_FAILURE, Place};
use crate::ask::connect;
use crate::folder::program;

/// One thing that was looked at.
struct Check {
    what: &'static str,
    result: Result<String, String>,
    /// Whether the mirror cannot run without it.
    needed: bool,
}

/// Looks at everything and says how it is.
pub(crate) async fn doctor(place: &Place) -> anyhow::Result<u8> {
    let mut checks = vec![Check {
        what: "nats-server",
        result: find_program()
            .map(|(path, version)| format!("{version} at {}", path.display()))
            .map_err(|error| error.to_string()),
        needed: true,
    }];
    let missing: Vec<String> = STAGES
        .iter()
        .filter_map(|stage| program(stage).err())
        .map(|error| error.to_string())
        .collect();
    checks.push(Check {
        what: "stages",
        result: if missing.is_empty() {
            Ok(STAGES.join(", "))
        } else {
            Err(missing.join("; "))
        },
        needed: true,
    });
    checks.push(Check {
        what: "DuckDB",
        result: prmirror_analytics::Database::in_memory()
            .map(|_| "its library is linked and starts".to_owned())
            .map_err(|error| format!("{error}: run bootstrap/bootstrap")),
        needed: true,
    });
    let pipeline = place.pipeline();
    checks.push(Check {
        what: "configuration",
        result: match (&pipeline, place.config_file()) {
            (Ok(pipeline), Some(file)) if !pipeline.repositories.is_empty() => Ok(format!(
                "{}: {} repositories",
                file.display(),
                pipeline.repositories.len()
            )),
            (Ok(_), Some(file)) => Err(format!(
                "{} names no repository: repositories = [\"owner/name\"]",
                file.display()
            )),
            (Ok(_), None) => {
                Err("no pipeline.toml here: copy the annotated one, or use --config".to_owned())
            }
            (Err(error), _) => Err(error.to_string()),
        },
        needed: false,
    });
    let default = Pipeline::default();
    let github = pipeline.as_ref().map_or(&default.github, |p| &p.github);
    checks.push(Check {
        what: "token",
        result: prmirror_github::credentials(github)
            .map(|credentials| {
                let names: Vec<String> = credentials
                    .iter()
                    .map(|credential| format!("{credential:?}"))
                    .collect();
                names.join(", ")
            })
            .map_err(|error| error.to_string()),
        needed: false,
    });
    checks.push(Check {
        what: "data folder",
        result: match std::fs::metadata(&place.data) {
            Ok(meta) if meta.permissions().readonly() => {
                Err(format!("{} may not be written", place.data.display()))
            }
            Ok(_) => Ok(place.data.display().to_string()),
            Err(_) => Ok(format!("{} will be made", place.data.display())),
        },
        needed: true,
    });
    checks.push(Check {
        what: "running mirror",
        result: connect(place)
            .await
            .map(|_| "its broker answers".to_owned())
            .map_err(|error| format!("{error:#}")),
        needed: false,
    });
    let mut sound = true;
    for check in checks {
        let (mark, text) = match &check.result {
            Ok(text) => ("ok     ", text),
            Err(text) if check.needed => {
                sound = false;
                ("MISSING", text)
            }
            Err(text) => ("not yet", text),
        };
        println!("{mark}  {:<15} {text}", check.what);
    }
    Ok(if sound { EXIT_COMPLETE } else { EXIT_FAILURE })
}

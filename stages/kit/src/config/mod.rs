//! `pipeline.toml`: one deployment. Every field has a default, so an empty file is valid; a key that
//! is not known is refused, for a misspelt one would be a setting that is silently not made.

mod repositories;
mod sections;
mod streams;
mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use repositories::{Priority, Repository};
pub use sections::{
    AppConfig, DetectConfig, FetchConfig, GithubConfig, NatsConfig, PageConfig, PublishConfig,
    ReconcileConfig, RoutingConfig, ValidateConfig, VerifyConfig, WebhooksConfig,
};
pub use streams::{Limits, StreamConfig, Streams};
pub use units::{parse_bytes, parse_duration};

/// Names of the five stages, in the order in which a pull request passes them.
pub const STAGES: [&str; 5] = [
    "detect-changes",
    "fetch-pr",
    "validate",
    "diff-integrity",
    "publish",
];

/// A deployment, as `pipeline.toml` describes it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pipeline {
    /// What is mirrored; may be empty.
    pub repositories: Vec<Repository>,
    /// The broker.
    pub nats: NatsConfig,
    /// GitHub.
    pub github: GithubConfig,
    /// How changes are noticed.
    pub detect: DetectConfig,
    /// What GitHub tells by itself.
    pub webhooks: WebhooksConfig,
    /// Which queue a sign of change goes to.
    pub routing: RoutingConfig,
    /// How pull requests are fetched.
    pub fetch: FetchConfig,
    /// How answers are judged.
    pub validate: ValidateConfig,
    /// How changes are landed.
    pub publish: PublishConfig,
    /// How the mirror is compared with what was seen.
    pub reconcile: ReconcileConfig,
    /// How it is read again from GitHub.
    pub verify: VerifyConfig,
    /// The page for a browser.
    pub page: PageConfig,
    /// How long and how much each stream keeps.
    pub streams: Streams,
    /// The stages, by name.
    pub stages: BTreeMap<String, StageConfig>,
}

/// How one stage is run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StageConfig {
    /// How many processes share its work. `publish` and `detect-changes` are always one.
    pub instances: u32,
    /// Filter of its log, as in `RUST_LOG`; that variable wins.
    pub log: String,
}

impl Default for StageConfig {
    fn default() -> Self {
        Self {
            instances: 1,
            log: "info".to_owned(),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file says something that is not understood: key, line and what is allowed are in the text.
    #[error("{origin}: {message}")]
    Invalid {
        /// The file, or what else it came from.
        origin: String,
        /// What is wrong.
        message: String,
    },
}

impl Pipeline {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be read, is no TOML, has an unknown key, or a value out of bounds.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    /// Reads a text; `origin` names it in errors.
    ///
    /// # Errors
    /// As [`Pipeline::load`], without the reading.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ConfigError> {
        let invalid = |message: String| ConfigError::Invalid {
            origin: origin.to_owned(),
            message,
        };
        let pipeline: Self =
            toml::from_str(text).map_err(|e| invalid(e.to_string().trim_end().to_owned()))?;
        pipeline.check().map_err(invalid)?;
        Ok(pipeline)
    }

    /// The settings of a stage, its defaults when the file does not name it.
    #[must_use]
    pub fn stage(&self, name: &str) -> StageConfig {
        self.stages.get(name).cloned().unwrap_or_default()
    }

    /// What types cannot say: bounds, and names that must be known or differ.
    fn check(&self) -> Result<(), String> {
        let mut seen = std::collections::BTreeSet::new();
        for repository in &self.repositories {
            // GitHub compares names without regard to case.
            if !seen.insert(repository.name.to_string().to_lowercase()) {
                return Err(format!(
                    "repositories: `{}` is listed twice",
                    repository.name
                ));
            }
        }
        for (name, stage) in &self.stages {
            if !STAGES.contains(&name.as_str()) {
                return Err(format!(
                    "stages.{name}: there is no such stage, expected one of {}",
                    STAGES.join(", ")
                ));
            }
            let most = if matches!(name.as_str(), "publish" | "detect-changes") {
                1
            } else {
                64
            };
            within(
                &format!("stages.{name}.instances"),
                stage.instances.into(),
                1,
                most,
            )?;
        }
        self.streams.check()?;
        let (github, fetch) = (&self.github, &self.fetch);
        // GitHub's own bound of `first:`.
        within("github.page_size", github.page_size.into(), 1, 100)?;
        within("github.max_in_flight", github.max_in_flight.into(), 1, 100)?;
        within(
            "detect.backfill_page",
            self.detect.backfill_page.into(),
            1,
            100,
        )?;
        within(
            "detect.backfill_parallel",
            self.detect.backfill_parallel.into(),
            1,
            64,
        )?;
        within(
            "detect.backfill_errors",
            self.detect.backfill_errors.into(),
            1,
            1_000,
        )?;
        let webhooks = &self.webhooks;
        if !webhooks.path.starts_with('/') || webhooks.path.contains(['{', '}', '?', '#', ' ']) {
            return Err(format!(
                "webhooks.path is `{}`: write a path such as /webhooks",
                webhooks.path
            ));
        }
        if webhooks.path == "/refresh" {
            return Err("webhooks.path: /refresh is for requests".to_owned());
        }
        if webhooks.max_delay < webhooks.quiet {
            return Err("webhooks.max_delay is shorter than webhooks.quiet".to_owned());
        }
        within("webhooks.base_moves", webhooks.base_moves.into(), 0, 1_000)?;
        within("detect.look_most", self.detect.look_most.into(), 1, 1_000)?;
        within("routing.bulk_share", self.routing.bulk_share.into(), 0, 100)?;
        within("fetch.batch", fetch.batch.into(), 1, 100)?;
        within("fetch.page", fetch.page.into(), 1, 100)?;
        within(
            "fetch.thread_comments",
            fetch.thread_comments.into(),
            1,
            100,
        )?;
        within("fetch.max_attempts", fetch.max_attempts.into(), 1, 100)?;
        if let Some(concurrency) = fetch.concurrency {
            within("fetch.concurrency", concurrency.into(), 1, 64)?;
        }
        within("publish.batch", self.publish.batch.into(), 1, 10_000)?;
        within("publish.threads", self.publish.threads.into(), 1, 256)?;
        within(
            "reconcile.max_attempts",
            self.reconcile.max_attempts.into(),
            1,
            1_000,
        )?;
        if !(self.verify.share > 0.0 && self.verify.share <= 1.0) {
            return Err(format!(
                "verify.share is {}: allowed is more than 0, and at most 1",
                self.verify.share
            ));
        }
        // The server's own bounds: below, bodies cannot be sent; above, it warns and slows down.
        within(
            "nats.max_payload",
            self.nats.max_payload,
            64 << 10,
            64 << 20,
        )?;
        for (key, url) in [
            ("github.api_url", Some(&github.api_url)),
            ("nats.url", self.nats.url.as_ref()),
        ] {
            if url.is_some_and(|url| !url.contains("://")) {
                return Err(format!(
                    "{key}: write the URL with its scheme, such as https://host"
                ));
            }
        }
        Ok(())
    }
}

fn within(key: &str, value: u64, least: u64, most: u64) -> Result<(), String> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(format!("{key} is {value}: allowed is {least} to {most}"))
    }
}

#[cfg(test)]
mod tests;

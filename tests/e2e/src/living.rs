//! Worlds that go on by themselves.

use github_sim::{Config, Generate, Sim, Time};

/// A made-up repository on which people and CI work, so many times as fast as they do. A token has points for that.
///
/// # Panics
/// When it cannot be started.
#[must_use]
pub fn living(pull_requests: u64, seed: u64, speed: f64) -> Sim {
    let mut config = Config::generated(Generate {
        live: true,
        ..Generate::new(pull_requests, seed)
    });
    config.time = Time::Running { speed, until: None };
    config.rate_limit = 1_000_000;
    Sim::start(config).unwrap()
}

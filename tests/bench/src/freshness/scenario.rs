//! The ways to notice changes that are compared.

use std::time::Duration;

use clap::ValueEnum;
use github_sim::DeliveryFaults;
use jiff::SignedDuration;

/// How changes are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Webhooks as GitHub sends them, beside polls and sweeps
    Webhooks,
    /// No webhooks: polls and sweeps
    Polling,
    /// Webhooks of which 30 % are lost, 10 % come twice, and all up to three minutes late, in any order
    Unreliable,
}

/// Seconds from a change to the table, at most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Goals {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) worst: f64,
}

/// Points an hour, at most: half of what a token has.
pub(crate) const POINTS: f64 = 2_500.0;

impl Scenario {
    pub(crate) const fn all() -> [Self; 3] {
        [Self::Webhooks, Self::Polling, Self::Unreliable]
    }

    pub(crate) const fn title(self) -> &'static str {
        match self {
            Self::Webhooks => "(a) webhooks on",
            Self::Polling => "(b) no webhooks",
            Self::Unreliable => "(c) webhooks 30 % lost, 10 % doubled, shuffled, up to 3 min late",
        }
    }

    /// Recorded seconds a second. What the machine needs counts so many times, which must not hide
    /// what is measured: seconds with webhooks, tens of them without.
    pub(crate) const fn speed(self) -> u32 {
        match self {
            Self::Webhooks => 4,
            Self::Polling | Self::Unreliable => 10,
        }
    }

    /// How much of a wait for the next change is played, at most, while nothing is outstanding. Without
    /// webhooks it must be long enough for looks to have become as rare as they do.
    pub(crate) const fn played_of_a_wait(self) -> SignedDuration {
        match self {
            Self::Webhooks => SignedDuration::from_secs(5),
            Self::Polling | Self::Unreliable => SignedDuration::from_mins(5),
        }
    }

    /// What is promised.
    pub(crate) const fn goals(self) -> Goals {
        const MINUTE: f64 = 60.0;
        match self {
            Self::Webhooks => Goals {
                p50: 5.0,
                p99: 30.0,
                worst: f64::INFINITY,
            },
            Self::Polling => Goals {
                p50: 30.0,
                p99: 5.0 * MINUTE,
                worst: f64::INFINITY,
            },
            // The list of everything that is open is read once in this time.
            Self::Unreliable => Goals {
                p50: f64::INFINITY,
                p99: f64::INFINITY,
                worst: 30.0 * MINUTE,
            },
        }
    }

    /// What goes wrong with webhooks, in recorded time; none without any.
    pub(crate) fn webhooks(self) -> Option<DeliveryFaults> {
        match self {
            Self::Webhooks => Some(DeliveryFaults::default()),
            Self::Polling => None,
            Self::Unreliable => Some(DeliveryFaults {
                lost: 0.3,
                duplicated: 0.1,
                shuffled: true,
                delay_from: Duration::ZERO,
                delay_to: Duration::from_secs(180),
                seed: 1,
            }),
        }
    }
}

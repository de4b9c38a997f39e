//! The ways to notice changes that are compared.

use std::time::Duration;

use clap::ValueEnum;
use github_sim::DeliveryFaults;

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
            Self::Webhooks => 8,
            Self::Polling | Self::Unreliable => 40,
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

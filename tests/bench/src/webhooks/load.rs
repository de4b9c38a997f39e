//! What is sent: bursts of checks and labels, each about one pull request.

use anyhow::ensure;
use serde_json::json;

/// Owner of the repository.
pub(crate) const OWNER: &str = "octo-org";
/// Its name.
pub(crate) const NAME: &str = "octo-repo";

/// How long a burst lasts, in seconds.
const BURST_SECONDS: u64 = 3;

/// Every so many deliveries one is sent again.
const REPEATED: u64 = 100;

/// Deliveries by their place, from 0.
pub(crate) struct Load {
    /// The repository's number: with another one they would be about a stranger.
    repository_id: u64,
    pub(crate) rate: u64,
    deliveries: u64,
    burst: u64,
    /// Pull requests that are in their burst at the same time.
    at_once: u64,
    /// Text of the size of what else is in GitHub's payloads.
    rest: String,
}

/// One delivery.
pub(crate) struct Delivery {
    pub(crate) event: &'static str,
    pub(crate) id: String,
    pub(crate) body: Vec<u8>,
}

impl Load {
    pub(crate) fn new(
        repository_id: u64,
        (rate, seconds): (u64, u64),
        burst: u64,
    ) -> anyhow::Result<Self> {
        ensure!(
            rate > 0 && seconds > 0 && burst > 1,
            "nothing is to be sent"
        );
        Ok(Self {
            repository_id,
            rate,
            deliveries: rate * seconds,
            burst,
            at_once: (rate * BURST_SECONDS / burst).max(1),
            // A check run's payload has 10 KB, most of it the repository.
            rest: "https://api.github.com/repos/octo-org/octo-repo{/something} ".repeat(160),
        })
    }

    pub(crate) const fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// Deliveries that repeat another.
    pub(crate) const fn repeated(&self) -> u64 {
        self.deliveries.saturating_sub(1) / REPEATED
    }

    /// Pull requests that are told of.
    pub(crate) fn pull_requests(&self) -> u64 {
        let round = self.at_once * self.burst;
        let (whole, rest) = (self.deliveries / round, self.deliveries % round);
        whole * self.at_once + rest.min(self.at_once)
    }

    /// The pull request of a delivery: bursts run side by side, each for as long as it lasts.
    const fn number(&self, place: u64) -> u64 {
        let round = place / (self.at_once * self.burst);
        round * self.at_once + place % self.at_once + 1
    }

    pub(crate) fn delivery(&self, place: u64) -> Delivery {
        // A repetition says what the one before it said, later.
        let said = if place > 0 && place.is_multiple_of(REPEATED) {
            place - 1
        } else {
            place
        };
        let number = self.number(said);
        let head = format!("{number:040x}");
        let repository = json!({
            "id": self.repository_id, "full_name": format!("{OWNER}/{NAME}"), "default_branch": "main", "urls": self.rest,
        });
        let (event, payload) = match said % 10 {
            0 => (
                "pull_request",
                json!({
                    "action": "labeled",
                    "pull_request": { "number": number, "head": { "sha": head } },
                    "repository": repository,
                }),
            ),
            n => (
                "check_run",
                json!({
                    "action": if n % 2 == 0 { "created" } else { "completed" },
                    "check_run": { "head_sha": head, "pull_requests": [{ "number": number }] },
                    "repository": repository,
                }),
            ),
        };
        Delivery {
            event,
            id: format!("bench-{said}"),
            body: payload.to_string().into_bytes(),
        }
    }
}

//! The rules for stages, kept by publish as its process runs it.

use prmirror_kit::testing::conformance::{self, Case};
use prmirror_kit::{Outgoing, Setup};
use publish::Publish;

/// A row for everything that a changeset brings to the tables: what is there twice is two rows.
const LANDED: &str = "
    SELECT concat_ws(' ', 'contents', number, updated_at) FROM pull_request_contents
    UNION ALL SELECT concat_ws(' ', 'observation', number, version) FROM pull_request_observations
    UNION ALL SELECT concat_ws(' ', 'file', number, path) FROM files
    UNION ALL SELECT concat_ws(' ', 'comment', number, id) FROM comments
    UNION ALL SELECT concat_ws(' ', 'version', number, version, observed_at) FROM version_log
    UNION ALL SELECT concat_ws(' ', 'event', number, id) FROM events
    ORDER BY ALL";

struct Landing;

impl Case for Landing {
    type Stage = Publish;

    async fn build(&self, setup: Setup) -> Publish {
        crate::common::open(setup).await
    }

    fn sample(&self, n: usize) -> Outgoing {
        crate::common::sample(n)
    }

    fn outputs(&self) -> &'static [&'static str] {
        &[]
    }

    async fn effects(&self, setup: &Setup) -> Vec<String> {
        crate::common::rows(setup, LANDED).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publish_keeps_the_rules() {
    conformance::run_all(&Landing).await;
}

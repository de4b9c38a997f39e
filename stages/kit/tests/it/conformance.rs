//! The rules for stages, kept by two that do next to nothing: what fails here is the harness.

use crate::common::{Finder, Requester, finding, request};
use prmirror_kit::proto::subjects::{STREAM_CHANGES, STREAM_FINDINGS};
use prmirror_kit::testing::conformance::{self, Case};
use prmirror_kit::{Outgoing, Setup};

/// Reads from a stream with limits.
struct FromStream;

impl Case for FromStream {
    type Stage = Requester;

    async fn build(&self, _setup: Setup) -> Requester {
        Requester::default()
    }

    fn sample(&self, n: usize) -> Outgoing {
        Outgoing::new(&finding(n as u64)).unwrap()
    }

    fn outputs(&self) -> &'static [&'static str] {
        &[STREAM_CHANGES]
    }
}

/// Reads from a work queue, several batches at once, and never gives up.
struct FromQueue;

impl Case for FromQueue {
    type Stage = Finder;

    async fn build(&self, _setup: Setup) -> Finder {
        Finder
    }

    fn sample(&self, n: usize) -> Outgoing {
        Outgoing::new(&request(n as u64, "sample")).unwrap()
    }

    fn outputs(&self) -> &'static [&'static str] {
        &[STREAM_FINDINGS]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_on_a_stream_keeps_the_rules() {
    conformance::run_all(&FromStream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stage_on_a_work_queue_keeps_the_rules() {
    conformance::run_all(&FromQueue).await;
}

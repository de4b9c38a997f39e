//! A whole stage, as its `main.rs` is written: it reads findings and logs them.
//!
//! `cargo run -p prmirror-kit --example echo -- --nats nats://127.0.0.1:4222`

use std::process::ExitCode;

use prmirror_kit::proto::Finding;
use prmirror_kit::proto::subjects::STREAM_FINDINGS;
use prmirror_kit::{Delivery, Input, Outcome, Setup, Stage};

struct Echo;

impl Stage for Echo {
    const NAME: &'static str = "echo";

    fn inputs(&self) -> Vec<Input> {
        vec![Input::new(STREAM_FINDINGS, "echo", "pr.findings.>")]
    }

    async fn handle(&self, batch: &[Delivery]) -> Vec<Outcome> {
        batch
            .iter()
            .map(|delivery| match delivery.decode::<Finding>() {
                Ok(finding) => {
                    tracing::info!(pr = %format_args!("{}#{}", finding.repository, finding.number), "{}", finding.reason);
                    Outcome::Emit(vec![])
                }
                Err(error) => error.into(),
            })
            .collect()
    }
}

fn main() -> ExitCode {
    prmirror_kit::main("Logs what is found.", |_setup: Setup| async {
        Ok::<_, std::io::Error>(Echo)
    })
}

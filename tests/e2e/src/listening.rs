//! Deployments that are told of changes by webhooks.

use std::net::TcpListener;
use std::time::Duration;

use github_sim::{Sim, Webhook};

use crate::deployment::{Deployment, Up};
use crate::wait::eventually;

/// Nobody looks by themselves: polls and sweeps come once, at the start.
pub const DEAF: &str = r#"
[detect]
poll = "1h"
sweep_open = "1h"
unsettled = "1h"
sweep_all = "1h"
[fetch]
batch_wait = "50ms"
[validate]
recheck_delay = "300ms"
[publish]
batch_wait = "100ms"
"#;

/// What webhooks are signed with.
const SECRET: &str = "a secret of these stories";

/// A deployment with these intervals that listens for webhooks, and the webhook that reaches it.
#[must_use]
pub fn listening(sim: &Sim, intervals: &str) -> (Deployment, Webhook) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let quick =
        format!("[webhooks]\nlisten = {address:?}\nquiet = \"50ms\"\nmax_delay = \"300ms\"\n");
    let deployment =
        Deployment::of(sim, &format!("{quick}{intervals}")).with("GITHUB_WEBHOOK_SECRET", SECRET);
    let webhook = Webhook {
        url: format!("http://{address}/webhooks"),
        secret: Some(SECRET.to_owned()),
        ..Webhook::default()
    };
    (deployment, webhook)
}

/// Waits until `up` says that the mirror is in step.
pub fn in_step(deployment: &Deployment, up: &mut Up, limit: Duration) {
    eventually("it is in step with GitHub", limit, || {
        assert!(up.is_running(), "{}", deployment.words(up));
        up.out().contains("In step with GitHub").then_some(())
    });
}

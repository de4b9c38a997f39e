//! Stories told against the simulator, a real nats-server and a real DuckDB.
//!
//! Each file in `tests/` is a story about the operator's command, driven as a person drives it; here is
//! what the stories have in common: a [`Deployment`] of their own, a recorded [`world`](recorded), and
//! [`compare`](compare()), the independent look at what the mirror holds.
//!
//! What goes wrong here ends the test with a panic that says so.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod broker;
pub mod compare;
mod deployment;
pub mod faults;
mod listening;
mod living;
mod mirror;
mod processes;
mod programs;
mod recorded;
mod wait;

pub use broker::Broker;
pub use compare::{Report, compare};
pub use deployment::{Deployment, Ended, QUICK, RECORDED, Up, to_the_end};
pub use github_sim::workspace;
pub use listening::{DEAF, in_step, listening};
pub use living::living;
pub use mirror::{Mirror, Settled, ask};
pub use processes::{is_alive, kill9, terminate};
pub use programs::python;
pub use recorded::{BROKEN, RECORDING, recorded};
pub use wait::{eventually, within};

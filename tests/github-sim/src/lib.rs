//! A GitHub to test against: GraphQL over HTTP with state, a clock, and faults.
//!
//! No test of this project can reach the real GitHub, so this crate is as faithful as what is known
//! of it allows: requests are parsed, validated and executed on (a trimmed copy of) GitHub's own
//! schema, cost what GitHub says they cost, and fail in the ways in which GitHub is known to fail.
//!
//! ```no_run
//! use github_sim::{Config, Sim};
//!
//! let sim = Sim::start(Config::empty("octocat", "hello-world"))?;
//! sim.add_pr("octocat", "hello-world", serde_json::json!({ "number": 7, "title": "Say hello" }))?;
//! println!("POST {}/graphql with the token {}", sim.url(), sim.token());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A world is [recorded](Recording), [generated](Generate), or [built by hand](WorldConfig::Empty);
//! a [`Clock`] lets it go on; [`Faults`] make it fail; [`Sim::truth`] tells what a mirror must show.

#[doc(hidden)]
pub mod cli;
mod clock;
mod config;
mod faults;
mod generated;
mod graphql;
mod journal;
mod limits;
mod material;
mod random;
mod recorded;
mod server;
mod sim;
mod stats;
mod webhooks;
mod work;
mod world;

pub use clock::{Backwards, Clock, ClockView};
pub use config::{ChangeError, Config, StartError, Time, WorldConfig};
pub use faults::{BrokenError, Effect, Fault, Faults};
pub use generated::Generate;
pub use graphql::trim::{TrimError, trim as trim_schema};
pub use graphql::{SCHEMA, SchemaError};
pub use journal::{Answered, Changed, Journal, Requested};
pub use limits::SecondaryLimits;
pub use material::{material, workspace};
pub use recorded::{Answer, Reason, Recording, RecordingError, Shown, answers};
pub use server::{App, Sent, Tokens};
pub use sim::Sim;
pub use stats::{OperationStats, Stats};
pub use webhooks::{Delivery, DeliveryFaults, Webhook, WebhookError};
pub use work::Work;
pub use world::pull_request::ShapeError;

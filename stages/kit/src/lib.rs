#![doc = include_str!("../README.md")]

mod backoff;
mod bus;
mod command;
pub mod config;
mod context;
mod delivery;
mod http;
mod jobs;
mod kv;
pub mod metrics;
mod objects;
mod outcome;
mod reading;
mod run;
mod second_look;
pub mod server;
mod signs;
mod stage;
mod stored;
#[cfg(feature = "testing")]
pub mod testing;
mod topology;
mod trace;
mod unsettled;

pub use prmirror_proto as proto;
pub use tokio_util::sync::CancellationToken;

pub use backoff::Backoff;
pub use bus::{Bus, ConnectError, PublishError, PublishReceipt, StreamError, StreamState};
pub use command::{
    CommonArgs, LogFormat, Setup, init_logging, main, main_with, shutdown_on_signal,
};
pub use config::Pipeline;
pub use context::{Context, Health};
pub use delivery::Delivery;
pub use http::parse_listen;
pub use jobs::{Begun, Job};
pub use kv::{Entry, Kv, KvError};
pub use metrics::{Metric, Metrics};
pub use outcome::{Outcome, Outgoing};
pub use reading::{Place, Reading, Unreadable};
pub use run::{RunError, run};
pub use stage::{Batch, Input, Stage};
pub use stored::first_id;
pub use topology::{TopologyError, ensure_topology};

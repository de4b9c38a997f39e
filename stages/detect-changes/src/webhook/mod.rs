//! Webhooks: what GitHub tells by itself.
//!
//! The [`Receiver`] checks a delivery's signature and stores it on `PR_WEBHOOKS` before GitHub is
//! answered; a repetition is refused by the broker in the same step. What a delivery means is found
//! out afterwards, by [`Webhooks`], which reads that stream: which repository it is about, whatever that is
//! called now (`identities`), and which pull requests may have changed (`signs`), by their number, their
//! head (`heads`, `lookup`) or what the tables know of them (`tables`). Many signs about one pull request
//! become one request (`coalesce`). What could not be delivered is asked for again (`recover_deliveries`).

mod coalesce;
mod heads;
mod identities;
mod known;
mod learnt;
mod lookup;
mod payload;
mod receiver;
mod recover;
mod room;
mod server;
mod signature;
mod signs;
mod tables;
mod webhooks;
mod workflows;

pub use heads::Heads;
pub use identities::Identities;
pub use learnt::Learnt;
pub use receiver::{Limits, Receiver, ReceiverError};
pub use recover::recover_deliveries;
pub use signature::{SecretError, Secrets};
pub use webhooks::Webhooks;

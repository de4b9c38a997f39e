//! Room for deliveries: their stream refuses new ones when it is full. What has been dealt with is kept to
//! recognise repetitions, and goes when the room is needed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use prmirror_kit::{Bus, CancellationToken};
use prmirror_proto::subjects::STREAM_WEBHOOKS;
use tokio::sync::Notify;

use super::webhooks::DURABLE;

/// How often is seen to it that there is room.
const EVERY: Duration = Duration::from_secs(5);

/// After a delivery that was refused it is seen to at once, and then for a while more often.
const SOON: Duration = Duration::from_millis(200);

/// Sees to it until the shutdown. `refused` is notified when a delivery could not be stored.
pub(super) async fn keep(
    bus: Bus,
    refused: Arc<Notify>,
    shutdown: CancellationToken,
) -> Result<(), Infallible> {
    loop {
        let made = match bus.make_room(STREAM_WEBHOOKS, DURABLE).await {
            Ok(made) => made,
            Err(error) => {
                tracing::debug!(%error, "whether there is room for deliveries is not known");
                false
            }
        };
        let pause = if made { SOON } else { EVERY };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = async { refused.notified().await; tokio::time::sleep(SOON).await } => {}
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}

//! Signs: requests to fetch what a webhook, a poll, a look or a sweep told to have changed.
//!
//! The newest request of a pull request replaces the one that waits. A sign replaces none that was not handed out
//! yet and serves for it as well: that is fetched later than everything that was seen until now, and brings what the
//! sign is about. Replaced, it would begin anew at the end of the queue, and with it went what noticed the change,
//! when, how urgent it is, and that somebody asked for its rows to be written anew. A webhook gives way only where
//! that would be lost: to what somebody asked for, and to what is more urgent.
//!
//! What was handed out never serves: it may have been fetched before, so the sign takes its place and leads to one
//! fetch more. What was put off, and comes again, was handed out as well, also what was put in its own place by
//! [`Bus::hand_out_again`]: it may be half read, and goes on where it stopped. What is urgent takes the place of what
//! is not.
//!
//! A repair serves for no sign: of a pull request that fails again and again it is left alone, for up to an hour,
//! until something new is seen of it, and that is the sign. The sign takes its place, as urgent as it. If what it
//! brings repairs nothing, reconciliation asks again: its pauses begin with 15 s and double to a quarter of an hour,
//! and are an hour only after ten repairs in vain.
//!
//! Only signs give way. A repair, or what a person asks for, is to write rows anew; a second look is to wait
//! ([`Outgoing::second_look`]); a backfill counts its own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use async_nats::jetstream::context::ConsumerInfoErrorKind;
use futures::{StreamExt as _, TryStreamExt as _};
use prmirror_proto::messages::{ChangeRequest, Lane, Source};
use prmirror_proto::subjects::{STREAM_CHANGES, fetch_consumer};
use tracing::debug;

use crate::bus::{Bus, PublishError, Sent, WINDOW};
use crate::outcome::Outgoing;
use crate::second_look::{RACES, outrun};
use crate::trace::TraceContext;

/// A change request, and the message that it is.
type Request = (ChangeRequest, Outgoing);

impl Bus {
    /// Publishes change requests, each with the message that it is, in their order and many on their way at once,
    /// and waits for all confirmations. Signs for which something serves that waits are left out; whether it was
    /// handed out is asked once for each lane, and only if something is in the place of a sign.
    ///
    /// They must be about what was seen before: what waits is fetched after the call.
    ///
    /// # Errors
    /// As [`Bus::publish_all`].
    pub async fn publish_requests(&self, requests: Vec<Request>) -> Result<(), PublishError> {
        let trace = self.new_trace();
        let mut kept_out = Vec::new();
        let mut on_their_way = VecDeque::new();
        for request in requests {
            if on_their_way.len() >= WINDOW
                && let Some((request, sent)) = on_their_way.pop_front()
            {
                kept_out.extend(self.unless_confirmed(request, sent).await?);
            }
            let place = is_sign(&request.0).then_some(0);
            let sent = self.send_as(request.1.clone(), None, &trace, place).await?;
            on_their_way.push_back((request, sent));
        }
        for (request, sent) in on_their_way {
            kept_out.extend(self.unless_confirmed(request, sent).await?);
        }
        self.publish_where_others_are(kept_out, &trace).await
    }

    /// The request, if another message is in its place.
    async fn unless_confirmed(
        &self,
        request: Request,
        sent: Sent,
    ) -> Result<Option<Request>, PublishError> {
        match self.confirmed(sent).await {
            Ok(_) => Ok(None),
            Err(error) if error.is_about_the_place() => Ok(Some(request)),
            Err(error) => Err(error),
        }
    }

    /// Publishes signs in whose places others are, unless those serve.
    async fn publish_where_others_are(
        &self,
        signs: Vec<Request>,
        trace: &TraceContext,
    ) -> Result<(), PublishError> {
        let lanes: BTreeSet<Lane> = signs.iter().map(|(sign, _)| sign.lane).collect();
        let mut handed_out = BTreeMap::new();
        for lane in lanes {
            handed_out.insert(lane, self.handed_out(lane).await?);
        }
        let published = futures::stream::iter(signs).map(|(sign, message)| {
            // Without a word all of it was handed out.
            let handed_out = handed_out.get(&sign.lane).copied().unwrap_or(u64::MAX);
            async move {
                let placed = self.publish_unless_served(&sign, &message, handed_out, trace);
                placed.await
            }
        });
        published.buffer_unordered(WINDOW).try_collect().await
    }

    /// Publishes a sign in the place of what does not serve for it, of which everything up to the sequence
    /// `handed_out` does not.
    async fn publish_unless_served(
        &self,
        sign: &ChangeRequest,
        message: &Outgoing,
        handed_out: u64,
        trace: &TraceContext,
    ) -> Result<(), PublishError> {
        for _ in 0..RACES {
            let newest = self.in_place_of(message).await?;
            let sequence = newest.as_ref().map_or(0, |newest| newest.stream_sequence);
            // Of what waits nothing was asked yet.
            let waiting = newest
                .filter(|newest| sequence > handed_out && !newest.was_handed_out_again())
                .and_then(|newest| newest.decode::<ChangeRequest>().ok());
            if waiting
                .as_ref()
                .is_some_and(|waiting| serves(waiting, sign))
            {
                debug!(id = message.message_id(), "what waits serves for it");
                return Ok(());
            }
            let urgent = waiting
                .is_some_and(|waiting| waiting.urgent)
                .then(|| as_urgent(sign, message));
            let message = urgent.as_ref().unwrap_or(message);
            if self.put_in_place(message, None, trace, sequence).await? {
                return Ok(());
            }
        }
        Err(outrun(message))
    }

    /// The sequence up to which requests of a lane were handed out to those who fetch, how many processes that may
    /// be: what is handed out again has a lower one.
    async fn handed_out(&self, lane: Lane) -> Result<u64, PublishError> {
        let asked = async {
            let handle = self.jetstream().get_stream_no_info(STREAM_CHANGES).await?;
            match handle.consumer_info(fetch_consumer(lane)).await {
                Ok(info) => Ok(info.delivered.stream_sequence),
                // Nobody has begun to fetch.
                Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => Ok(0),
                Err(error) => Err(error.into()),
            }
        };
        let asked: Result<u64, async_nats::Error> = asked.await;
        asked.map_err(|source| {
            self.failed(PublishError::Unavailable {
                subject: format!("pr.changes.{lane}.>"),
                source,
            })
        })
    }
}

/// Whether a request says nothing but that something was seen to have changed.
const fn is_sign(request: &ChangeRequest) -> bool {
    match request.source {
        Source::Webhook | Source::Poll | Source::Sweep => true,
        Source::Backfill | Source::Request | Source::Finding | Source::Recheck => false,
    }
}

/// The message of a sign that is urgent because what it takes the place of is.
fn as_urgent(sign: &ChangeRequest, message: &Outgoing) -> Outgoing {
    let urgent = ChangeRequest {
        urgent: true,
        ..sign.clone()
    };
    // What could be written once can be written again.
    let Ok(mut urgent) = Outgoing::new(&urgent) else {
        return message.clone();
    };
    urgent.envelope.cause.clone_from(&message.envelope.cause);
    urgent
}

/// Whether a request that waits, and was not handed out, serves for a sign as well: it is as urgent and due no later.
/// A pause that spaces signs out is no wish to be later than what waits.
fn serves(waiting: &ChangeRequest, sign: &ChangeRequest) -> bool {
    let may_serve = match waiting.source {
        // It is never left alone, and writes rows anew.
        Source::Request => true,
        // Of many webhooks one request was made before: what comes after it is news.
        Source::Webhook | Source::Poll | Source::Sweep => {
            sign.source != Source::Webhook || (waiting.urgent && !sign.urgent)
        }
        // What a backfill brings is measured by nobody, a second look is believed whatever it says, and both a second
        // look and a repair are left alone while a pull request is stubborn.
        Source::Backfill | Source::Finding | Source::Recheck => false,
    };
    may_serve && (waiting.urgent || !sign.urgent) && waiting.not_before <= sign.not_before
}

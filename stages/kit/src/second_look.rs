//! Second looks: requests to fetch once more what was just fetched, after a pause.
//!
//! The newest request of a pull request replaces the one that waits, but a second look replaces no other: what waits
//! is fetched later than what is doubted, and shows the same. Replaced, it would have to wait for the pause, and with
//! it went what noticed it, when, and how urgent it is.

use prmirror_proto::envelope::EncodeError;
use prmirror_proto::messages::{ChangeRequest, Source};
use prmirror_proto::subjects::STREAM_CHANGES;
use tracing::debug;

use crate::bus::{Bus, PublishError};
use crate::delivery::Delivery;
use crate::outcome::Outgoing;
use crate::trace::TraceContext;

/// How often others may be quicker until the broker's word is waited for.
pub(crate) const RACES: usize = 10;

impl Outgoing {
    /// A request to look again at what was fetched for the request of the id `answered`: the harness does not
    /// publish it while another one waits. The one that was answered may not be settled yet, and is none that waits.
    ///
    /// # Errors
    /// As [`Outgoing::new`].
    pub fn second_look(request: &ChangeRequest, answered: &str) -> Result<Self, EncodeError> {
        Ok(Self {
            second_look_at: Some(answered.to_owned()),
            ..Self::new(request)?
        })
    }
}

impl Bus {
    /// Publishes a second look at what was fetched for the request of the id `answered`, unless another request
    /// waits for its pull request in the same queue.
    pub(crate) async fn publish_second_look(
        &self,
        look: &Outgoing,
        answered: &str,
        cause: Option<&str>,
        trace: &TraceContext,
    ) -> Result<(), PublishError> {
        for _ in 0..RACES {
            let Some(newest) = self.replaceable(look, answered).await? else {
                debug!(id = look.message_id(), "another request waits");
                return Ok(());
            };
            if self.put_in_place(look, cause, trace, newest).await? {
                return Ok(());
            }
        }
        Err(outrun(look))
    }

    /// Publishes a request if the newest message on its subject has this sequence, 0 being that there is none: whether
    /// it was.
    pub(crate) async fn put_in_place(
        &self,
        request: &Outgoing,
        cause: Option<&str>,
        trace: &TraceContext,
        newest: u64,
    ) -> Result<bool, PublishError> {
        let sent = self
            .send_as(request.clone(), cause, trace, Some(newest))
            .await?;
        match self.confirmed(sent).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_about_the_place() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// What is in the place of a request, if anything is.
    pub(crate) async fn in_place_of(
        &self,
        request: &Outgoing,
    ) -> Result<Option<Delivery>, PublishError> {
        let subject = request.subject.to_string();
        let newest = self.newest_on(STREAM_CHANGES, &subject).await;
        newest.map_err(|error| {
            self.failed(PublishError::Unavailable {
                subject,
                source: error.into(),
            })
        })
    }

    /// The sequence of what a second look may replace, 0 if nothing is in its place; none if something waits there
    /// that serves for both.
    async fn replaceable(
        &self,
        look: &Outgoing,
        answered: &str,
    ) -> Result<Option<u64>, PublishError> {
        let Some(newest) = self.in_place_of(look).await? else {
            return Ok(Some(0));
        };
        let id = newest.id();
        // An older second look has no pause left for what is doubted now.
        let serves = id == look.message_id()
            || (id != answered
                && newest
                    .decode::<ChangeRequest>()
                    .is_ok_and(|waiting| waiting.source != Source::Recheck));
        Ok((!serves).then_some(newest.stream_sequence))
    }
}

/// Others were quicker each time.
pub(crate) fn outrun(request: &Outgoing) -> PublishError {
    PublishError::Unavailable {
        subject: request.subject.to_string(),
        source: "others keep writing this pull request's requests".into(),
    }
}

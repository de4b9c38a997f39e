//! What was read of a pull request before GitHub asked to wait: it goes on where it stopped when its
//! message comes again to this process. Another process finds it in
//! the broker's bucket ([`crate::pages`]).

use std::collections::HashMap;
use std::time::Duration;

use prmirror_proto::messages::ChangeRequest;
use prmirror_proto::subjects::stubborn_key;
use tokio::time::Instant;

use crate::job::Work;
use crate::pages::identity;

/// How long after its time a message may come.
const GRACE: Duration = Duration::from_secs(600);

/// Half-read pull requests.
#[derive(Default)]
pub(crate) struct Kept {
    entries: HashMap<String, Entry>,
}

struct Entry {
    /// The message that asked for it. What a newer one says, pages of before cannot answer.
    cause: String,
    work: Work,
    until: Instant,
}

impl Kept {
    /// Keeps what was read, if anything was, of a pull request that is asked for again after `pause`.
    pub(crate) fn put(
        &mut self,
        request: &ChangeRequest,
        cause: &str,
        work: Work,
        pause: Duration,
    ) {
        let now = Instant::now();
        self.entries.retain(|_, entry| entry.until > now);
        if work.answer.is_none() {
            return;
        }
        let entry = Entry {
            cause: identity(cause).to_owned(),
            work,
            until: now + pause + GRACE,
        };
        self.entries.insert(key(request), entry);
    }

    /// What was read for this very message.
    pub(crate) fn take(&mut self, request: &ChangeRequest, cause: &str) -> Option<Work> {
        let entry = self.entries.remove(&key(request))?;
        (entry.cause == identity(cause) && entry.until > Instant::now()).then_some(entry.work)
    }
}

fn key(request: &ChangeRequest) -> String {
    stubborn_key(&request.repository, request.number)
}

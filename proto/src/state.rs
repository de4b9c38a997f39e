//! State that stages share in KV buckets.

use jiff::{SignedDuration, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a backfill stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackfillStatus {
    /// It goes on.
    Active,
    /// It waits for GitHub's next hour, and goes on by itself.
    RateLimitLow,
    /// It goes on when it is resumed, or at [`BackfillState::resume_at`] if there is such a time.
    Paused,
    /// Every page was handed on and every chunk is done with.
    Completed,
    /// It cannot go on without a person's help.
    Failed,
    /// Another one was started in its place.
    Replaced,
}

impl BackfillStatus {
    /// The word used in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::RateLimitLow => "rate_limit_low",
            Self::Paused => "paused",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Replaced => "replaced",
        }
    }
}

/// Where a chunk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkStatus {
    /// It was listed and not yet handed on.
    Pending,
    /// It was handed on, and not all of it has landed.
    Processing,
    /// Each of its pull requests has landed, is gone, or was set aside.
    Completed,
    /// It was handed on again and again, and some of it did not land.
    Failed,
}

impl ChunkStatus {
    /// The word used in JSON and SQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing more will happen to it.
    #[must_use]
    pub const fn is_closed(self) -> bool {
        match self {
            Self::Pending | Self::Processing => false,
            Self::Completed | Self::Failed => true,
        }
    }
}

/// A pull request of a chunk.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct ChunkMember {
    /// Its number.
    pub number: u64,
    /// Its node id.
    pub id: String,
    /// Its `updatedAt` as the walk saw it.
    pub updated_at: Timestamp,
}

/// Pull requests of a backfill that are handed on together.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Chunk {
    /// Its place in the backfill, from 0.
    pub chunk: u32,
    /// Where it stands.
    pub status: ChunkStatus,
    /// Its pull requests.
    pub members: Vec<ChunkMember>,
    /// When GitHub was asked for the page that listed them: an observation that is not older counts.
    pub listed_at: Timestamp,
    /// When it was handed on, the last time.
    pub started_at: Option<Timestamp>,
    /// When GitHub was first asked for one of its pull requests; known when it is done with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<Timestamp>,
    /// When the last of them landed; known when it is done with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub landed_at: Option<Timestamp>,
    /// When it was found to be done with.
    pub completed_at: Option<Timestamp>,
    /// How often it was handed on again.
    pub retries: u32,
    /// What went wrong with it last.
    pub error: Option<String>,
}

/// A repository's backfill, in the bucket [`crate::subjects::BUCKET_BACKFILLS`] under
/// [`crate::subjects::repository_key`].
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct BackfillState {
    /// Where it stands.
    pub status: BackfillStatus,
    /// Why it stands there, for people: who paused it, what broke.
    #[serde(default)]
    pub reason: Option<String>,
    /// When a pause ends by itself.
    #[serde(default)]
    pub resume_at: Option<Timestamp>,
    /// Identity of the scan that its pages belong to.
    pub scan: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When its last page was handed on.
    #[serde(default)]
    pub walked_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// Backfills of this repository that were walked to their end, this one included.
    #[serde(default)]
    pub walks: u32,
    /// How often in a row it was begun anew by itself because too much was missing.
    #[serde(default)]
    pub selections: u32,
    /// GitHub's cursor of the next page.
    pub cursor: Option<String>,
    /// Pages listed.
    pub pages: u32,
    /// Pull requests listed.
    pub processed: u64,
    /// Pull requests there are.
    pub total: Option<u64>,
    /// Pull requests of completed chunks.
    #[serde(default)]
    pub done: u64,
    /// Chunks made.
    #[serde(default)]
    pub chunks_made: u32,
    /// Chunks that are completed.
    #[serde(default)]
    pub chunks_completed: u32,
    /// Chunks that failed.
    #[serde(default)]
    pub chunks_failed: u32,
    /// Milliseconds that a pull request of past chunks took, from the first request for one of its chunk
    /// until the last of them landed; the newest count most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub millis_each: Option<u64>,
    /// Pull requests a chunk, when a person chose it.
    #[serde(default)]
    pub chunk_size: Option<u32>,
    /// Chunks that are handed on in one run; none is without a limit.
    #[serde(default)]
    pub max_chunks: Option<u32>,
    /// When the present run began: the first, or the one after a pause.
    #[serde(default)]
    pub run_started_at: Option<Timestamp>,
    /// [`BackfillState::done`] at that time.
    #[serde(default)]
    pub run_done: u64,
    /// Chunks handed on in this run.
    #[serde(default)]
    pub run_chunks: u32,
    /// Failures in a row.
    pub consecutive_errors: u32,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// Chunks that are not done with, in their order.
    #[serde(default)]
    pub chunks: Vec<Chunk>,
}

impl BackfillState {
    /// A backfill that begins.
    #[must_use]
    pub fn new(scan: String, started_at: Timestamp) -> Self {
        Self {
            status: BackfillStatus::Active,
            reason: None,
            resume_at: None,
            scan,
            started_at,
            walked_at: None,
            completed_at: None,
            walks: 0,
            selections: 0,
            cursor: None,
            pages: 0,
            processed: 0,
            total: None,
            done: 0,
            chunks_made: 0,
            chunks_completed: 0,
            chunks_failed: 0,
            millis_each: None,
            chunk_size: None,
            max_chunks: None,
            run_started_at: Some(started_at),
            run_done: 0,
            run_chunks: 0,
            consecutive_errors: 0,
            last_error: None,
            chunks: Vec::new(),
        }
    }

    /// Whether every page was handed on.
    #[must_use]
    pub fn is_walked(&self) -> bool {
        self.walked_at.is_some() || self.status == BackfillStatus::Completed
    }

    /// When it will be done with, if it goes on as it has since the run began.
    #[must_use]
    pub fn eta(&self, now: Timestamp) -> Option<Timestamp> {
        if self.status != BackfillStatus::Active {
            return None;
        }
        let elapsed = now.duration_since(self.run_started_at?).as_secs_f64();
        let gained = self.done.checked_sub(self.run_done).filter(|n| *n > 0)?;
        let left = self.total?.saturating_sub(self.done);
        let seconds = elapsed.max(0.0) * left as f64 / gained as f64;
        // Beyond a century it is no forecast.
        if seconds > 3.0e9 {
            return None;
        }
        now.checked_add(jiff::SignedDuration::try_from_secs_f64(seconds).ok()?)
            .ok()
    }
}

/// A pull request that could not be fetched whole, in the bucket
/// [`crate::subjects::BUCKET_STUBBORN`] under [`crate::subjects::stubborn_key`] until it could.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Stubborn {
    /// Failures in a row. From `fetch.max_attempts` on its header is fetched alone, then each list in
    /// small pages.
    pub attempts: u32,
    /// When the first of them was.
    pub since: Timestamp,
    /// Code of the last one; each has a page in `docs/errors/`.
    pub code: String,
    /// The last one in words.
    pub last_error: String,
    /// When it is asked for again, unless something new asks for it sooner.
    pub next_attempt: Option<Timestamp>,
    /// When its header landed without its lists.
    #[serde(default)]
    pub header_at: Option<Timestamp>,
}

/// For how long the header of a stubborn pull request that has landed is taken to be new.
const HEADER_FRESH: SignedDuration = SignedDuration::from_hours(1);

impl Stubborn {
    /// Whether its header is to land before its lists are asked for.
    #[must_use]
    pub fn wants_header(&self, now: Timestamp) -> bool {
        let age = self.header_at.map(|at| now.duration_since(at));
        age.is_none_or(|age| age > HEADER_FRESH)
    }
}

/// A repository of which nothing is fetched for now, in the bucket
/// [`crate::subjects::BUCKET_STUBBORN`] under [`crate::subjects::parked_key`]. What is asked of it
/// waits meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Parked {
    /// Since when.
    pub since: Timestamp,
    /// How often in a row it was found to be so.
    pub times: u32,
    /// Code of the reason; each has a page in `docs/errors/`.
    pub code: String,
    /// The reason in words.
    pub reason: String,
    /// When it is tried again.
    pub until: Timestamp,
    /// Documents about it that failed in a row: GitHub answers nothing. 0: nothing of it is shown to the
    /// token.
    #[serde(default)]
    pub failures: u32,
}

/// A message that was delivered again and is being handled, in the bucket
/// [`crate::subjects::BUCKET_STUBBORN`] under [`crate::subjects::unfinished_key`] until there is an
/// outcome of whatever kind.
#[derive(Clone, Debug, PartialEq, Eq, JsonSchema, Serialize, Deserialize)]
pub struct Unfinished {
    /// Its place in the stream. A newer message of the same subject is another.
    pub sequence: u64,
    /// How often it was begun without any outcome.
    pub times: u32,
    /// When it was begun, the last time.
    pub begun_at: Timestamp,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_state_of_an_older_build_is_read() {
        let old = r#"{"status":"completed","scan":"backfill-all-1","started_at":"2026-01-01T00:00:00Z",
            "completed_at":"2026-01-01T00:01:00Z","cursor":null,"pages":3,"processed":250,"total":250,
            "consecutive_errors":0,"last_error":null}"#;
        let state: BackfillState = serde_json::from_str(old).unwrap();
        assert!(state.is_walked());
        assert_eq!(state.chunks, []);
    }

    #[test]
    fn the_forecast_goes_by_this_run_alone() {
        let mut state = BackfillState::new("s".into(), at(0));
        state.total = Some(1_000);
        assert_eq!(state.eta(at(50)), None, "nothing is done");
        state.done = 400;
        state.run_done = 300;
        state.run_started_at = Some(at(1_000));
        // 100 in 50 s, 600 are left.
        assert_eq!(state.eta(at(1_050)), Some(at(1_350)));
        state.done = 1_000;
        assert_eq!(state.eta(at(1_050)), Some(at(1_050)));
        state.status = BackfillStatus::Paused;
        assert_eq!(state.eta(at(1_050)), None);
    }
}

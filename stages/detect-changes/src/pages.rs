//! Pages of key data that GitHub bears: it gives up after ten seconds, and how many pull requests it does
//! in them depends on their labels and checks.

use std::sync::{Arc, Mutex, PoisonError};

use prmirror_github::{Error, KeyDataPage, KeyDataQuery, Why};
use prmirror_proto::subjects::STREAM_CHANGES;

use crate::detector::{Detector, WalkError};
use crate::mirror;

/// Fewer pull requests are not asked for at once.
const SMALLEST: u32 = 5;

/// After so many pages that were answered larger ones are tried again; when they fail again, after twice as
/// many each time, up to the most.
const PROVEN: u32 = 20;
const PROVEN_AT_MOST: u32 = 640;

/// So many pages in a row of which GitHub tells no more than who is on them are passed over. Beyond that it is
/// not what they show that it fails at.
const PASSED_OVER: u32 = 10;

#[derive(Debug)]
struct State {
    largest: u32,
    answered: u32,
    /// Pages that must be answered before larger ones are tried.
    proven: u32,
    /// Larger ones are being tried.
    tries: bool,
    /// Pages in a row that were passed over.
    passed_over: u32,
}

/// How large pages may be. Lost at a restart.
#[derive(Clone, Debug)]
pub(crate) struct Pages(Arc<Mutex<State>>);

impl Default for Pages {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(State {
            largest: u32::MAX,
            answered: 0,
            proven: PROVEN,
            tries: false,
            passed_over: 0,
        })))
    }
}

impl Pages {
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many pull requests to ask for where so many are usual.
    fn size(&self, usual: u32) -> u32 {
        self.with(|state| usual.min(state.largest))
    }

    fn answered(&self) {
        self.with(|state| {
            state.passed_over = 0;
            state.answered += 1;
            if state.answered >= state.proven {
                state.largest = state.largest.saturating_mul(2);
                state.answered = 0;
                state.tries = true;
            }
        });
    }

    /// So many were too much. Whether fewer can be asked for.
    fn too_many(&self, size: u32) -> bool {
        self.with(|state| {
            if std::mem::take(&mut state.tries) {
                state.proven = (state.proven * 2).min(PROVEN_AT_MOST);
            }
            state.largest = (size / 2).max(SMALLEST);
            state.answered = 0;
        });
        size > SMALLEST
    }

    /// Whether one more page may be passed over.
    fn may_be_passed_over(&self) -> bool {
        self.with(|state| state.passed_over < PASSED_OVER)
    }

    fn passed_over(&self) {
        self.with(|state| state.passed_over += 1);
    }
}

impl Detector {
    /// A page of key data, of so many pull requests as usual or as few as GitHub bears.
    pub(crate) async fn key_data(
        &self,
        query: KeyDataQuery,
        usual: u32,
        after: Option<&str>,
    ) -> Result<KeyDataPage, WalkError> {
        let mut failures = 0;
        loop {
            let size = self.pages.size(usual);
            let page = self.client.key_data(&self.repository, query, size, after);
            match page.await {
                Ok(page) => {
                    self.pages.answered();
                    // The page is here whatever becomes of what waits: that is tried again by itself.
                    if let Err(error) = self.fetch_again().await {
                        tracing::warn!(repository = %self.repository, %error, "what waits was not handed out again");
                    }
                    self.learnt.page(&self.repository, &page).await;
                    self.hand_on_holes(query, &page).await?;
                    return Ok(page);
                }
                Err(error) if error.may_be_weight() => {
                    failures += 1;
                    // It may have been a bad moment: the second time it was too much.
                    if failures % 2 == 0 {
                        if !self.pages.too_many(size) {
                            return self.pass_over(query, size, after, error).await;
                        }
                        tracing::info!(
                            repository = %self.repository, size, %error,
                            "a page of key data was too large"
                        );
                    }
                    self.sleep(WalkError::from(error).pause(0)).await;
                    if self.shutdown.is_cancelled() {
                        return Err(WalkError::Shutdown);
                    }
                }
                Err(error @ (Error::Forbidden { .. } | Error::NotFound(_))) => {
                    // Nothing of the repository is shown: what waits to be fetched need not be tried.
                    let hidden = Why::Hidden(&error);
                    self.parking.park(&self.repository, hidden).await;
                    return Err(error.into());
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A page of a few fails again and again. Where GitHub tells who is on it, one of them is to blame: all of
    /// them are handed on to be fetched, each by itself in the end, and the walk goes on behind them.
    async fn pass_over(
        &self,
        query: KeyDataQuery,
        size: u32,
        after: Option<&str>,
        error: Error,
    ) -> Result<KeyDataPage, WalkError> {
        if !self.pages.may_be_passed_over() {
            return Err(error.into());
        }
        let (repository, why) = (&self.repository, error.to_string());
        let names = self
            .client
            .key_data_names(repository, query, size, after, &why);
        // It says nothing, either: that is no matter of this page.
        let Ok(page) = names.await else {
            return Err(error.into());
        };
        self.pages.passed_over();
        tracing::warn!(%repository, size, %error, "a page of key data is passed over");
        self.hand_on_holes(query, &page).await?;
        Ok(page)
    }

    /// The repository is fetched, if nothing of it was: GitHub answers about it, or a person wants it. What
    /// waits because of that is handed out at once.
    pub(crate) async fn fetch_again(&self) -> Result<(), WalkError> {
        // When its time has come what waits is in hand already.
        let is_early = self.parking.remaining(&self.repository).await.is_some();
        if self.parking.unpark(&self.repository).await && is_early {
            let queue = mirror::queue_of(&self.repository);
            let waiting = self.bus.hand_out_again(STREAM_CHANGES, &queue).await?;
            tracing::info!(repository = %self.repository, waiting, "what waits is handed out again");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_shrink_to_a_few_and_grow_when_they_are_answered() {
        let pages = Pages::default();
        assert_eq!(pages.size(74), 74);
        for (size, fewer) in [(74, 37), (37, 18), (18, 9), (9, 5)] {
            assert!(pages.too_many(size));
            assert_eq!(pages.size(74), fewer);
        }
        assert!(!pages.too_many(5), "it is not their number");
        for expected in [10, 20, 40, 74, 74] {
            (0..PROVEN).for_each(|_| pages.answered());
            assert_eq!(pages.size(74), expected);
        }
        // What was too much again is tried less often.
        pages.too_many(74);
        (0..PROVEN).for_each(|_| pages.answered());
        assert_eq!(pages.size(74), 37);
        (0..PROVEN).for_each(|_| pages.answered());
        assert_eq!(pages.size(74), 74);
    }

    #[test]
    fn so_many_pages_are_passed_over_and_no_more_until_one_is_answered() {
        let pages = Pages::default();
        for _ in 0..PASSED_OVER {
            assert!(pages.may_be_passed_over());
            pages.passed_over();
        }
        assert!(!pages.may_be_passed_over());
        pages.answered();
        assert!(pages.may_be_passed_over());
    }
}

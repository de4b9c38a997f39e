//! What a process is to a stage: a place whose tasks and connections end together.

use std::future::Future;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_util::context::RuntimeExt as _;

use super::PATIENCE;

/// A runtime of its own. What is spawned and connected within it ends with it, as nothing else in a
/// test does.
pub(super) struct Process(Option<Runtime>);

impl Process {
    pub(super) fn start() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build();
        Self(Some(runtime.expect("a runtime")))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("a process that runs")
    }

    /// Does something, and what that spawns, in the process.
    pub(super) async fn within<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime().wrap(work).await
    }

    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.runtime().spawn(work)
    }

    /// Ends it wherever it is; afterwards nothing of it runs any more.
    pub(super) async fn end(mut self) {
        if let Some(runtime) = self.0.take() {
            // Waiting for its threads would block one of the test's.
            let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(PATIENCE));
            ended.await.expect("the process's threads");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

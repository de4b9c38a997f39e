//! Work on several threads, in bounded memory.

use std::marker;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Mutex, PoisonError};

/// Sends an item to be worked on, or a failure. None when nothing more is wanted.
pub(super) type Send<'a, T, E> = &'a mut dyn FnMut(Result<T, E>) -> Option<()>;

/// Feeds what `produce` sends through `work` on several threads and gives the outcomes, in no
/// particular order, to `collect`, until there is no more or `collect` returns false.
pub(super) fn parallel<T: marker::Send, R: marker::Send, E: marker::Send>(
    produce: impl FnOnce(Send<'_, T, E>) + marker::Send,
    work: impl Fn(T) -> R + Sync,
    mut collect: impl FnMut(Result<R, E>) -> bool,
) {
    let workers = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(1, 8));
    let (send_work, receive_work) = sync_channel::<Result<T, E>>(workers * 4);
    let (send_done, receive_done) = sync_channel(workers * 4);
    let receive_work = Mutex::new(receive_work);
    std::thread::scope(|scope| {
        scope.spawn(move || produce(&mut |item| send_work.send(item).ok()));
        for _ in 0..workers {
            let (send_done, receive_work, work) = (send_done.clone(), &receive_work, &work);
            scope.spawn(move || {
                while let Some(item) = next(receive_work) {
                    if send_done.send(item.map(work)).is_err() {
                        // Let the producer find the channel full or closed rather than blocked.
                        while next(receive_work).is_some() {}
                    }
                }
            });
        }
        drop(send_done);
        while let Ok(outcome) = receive_done.recv() {
            if !collect(outcome) {
                break;
            }
        }
        drop(receive_done);
    });
}

fn next<T>(receive: &Mutex<Receiver<T>>) -> Option<T> {
    receive
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .recv()
        .ok()
}

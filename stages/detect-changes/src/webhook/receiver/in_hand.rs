//! Payloads while they are read. Nobody knows yet who sends them, so all of them together have a bound, and
//! when it is reached, who is slow gives way: else a few that never come to their end would keep everybody
//! out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::Refusal;

/// What a delivery is taken to need beside its payload, so that many small ones have a bound, too.
const OVERHEAD: usize = 16 << 10;

/// The room for payloads.
pub(super) struct InHand {
    room: Arc<Semaphore>,
    /// Who has been read for less gives way to nobody.
    patience: Duration,
    arriving: Mutex<Arriving>,
}

/// The payloads that have not come to their end.
#[derive(Default)]
struct Arriving {
    /// In the order in which they began.
    parts: BTreeMap<u64, Part>,
    begun: u64,
}

/// What has come of a payload, and the room that it takes.
struct Part {
    since: Instant,
    bytes: BytesMut,
    room: OwnedSemaphorePermit,
}

/// A payload that is being read. What has come of it goes with it.
pub(super) struct Arrival<'h> {
    in_hand: &'h InHand,
    number: u64,
}

impl InHand {
    pub(super) fn new(bytes: usize, patience: Duration) -> Self {
        Self {
            room: Arc::new(Semaphore::new(bytes)),
            patience,
            arriving: Mutex::default(),
        }
    }

    fn arriving(&self) -> MutexGuard<'_, Arriving> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to read a payload, if there is room for it.
    pub(super) fn begin(&self) -> Result<Arrival<'_>, Refusal> {
        let mut arriving = self.arriving();
        let room = self.room(&mut arriving, OVERHEAD)?;
        let number = arriving.begun;
        arriving.begun += 1;
        let part = Part {
            since: Instant::now(),
            bytes: BytesMut::new(),
            room,
        };
        arriving.parts.insert(number, part);
        Ok(Arrival {
            in_hand: self,
            number,
        })
    }

    /// Room for so many bytes: what is free, or that of others who are slow, the slowest first.
    fn room(&self, others: &mut Arriving, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let bytes = u32::try_from(bytes).map_err(|_| Refusal::Busy)?;
        loop {
            if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(bytes) {
                return Ok(room);
            }
            let slowest = others.parts.first_entry().ok_or(Refusal::Busy)?;
            if slowest.get().since.elapsed() < self.patience {
                return Err(Refusal::Busy);
            }
            // Its room is free at once; its sender is told when more of it comes, or its time is over.
            slowest.remove();
        }
    }
}

impl Arrival<'_> {
    /// More has come.
    pub(super) fn append(&self, chunk: &[u8]) -> Result<(), Refusal> {
        let mut arriving = self.in_hand.arriving();
        let part = arriving.parts.remove(&self.number);
        let mut part = part.ok_or(Refusal::TooSlow)?;
        let room = self.in_hand.room(&mut arriving, chunk.len())?;
        part.room.merge(room);
        part.bytes.extend_from_slice(chunk);
        arriving.parts.insert(self.number, part);
        Ok(())
    }

    /// It has come to its end: all of it, and the room that is taken until that is dropped.
    pub(super) fn finish(self) -> Result<(Bytes, OwnedSemaphorePermit), Refusal> {
        let part = self.in_hand.arriving().parts.remove(&self.number);
        let part = part.ok_or(Refusal::TooSlow)?;
        Ok((part.bytes.freeze(), part.room))
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        self.in_hand.arriving().parts.remove(&self.number);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    /// Room for two payloads and 100 bytes.
    fn in_hand(patience: Duration) -> InHand {
        InHand::new(2 * OVERHEAD + 100, patience)
    }

    #[test]
    fn the_slowest_gives_way_and_only_as_many_as_must() {
        let in_hand = in_hand(Duration::ZERO);
        let first = in_hand.begin().unwrap();
        first.append(&[1; 60]).unwrap();
        let second = in_hand.begin().unwrap();
        second.append(&[2; 40]).unwrap();
        let third = in_hand.begin().unwrap();
        third.append(&[3; 60]).unwrap();
        assert!(matches!(first.append(&[1]), Err(Refusal::TooSlow)));
        assert!(matches!(first.finish(), Err(Refusal::TooSlow)));
        assert_eq!(second.finish().unwrap().0, vec![2; 40]);
        assert_eq!(third.finish().unwrap().0, vec![3; 60]);
    }

    #[test]
    fn who_is_not_slow_gives_way_to_nobody() {
        let in_hand = in_hand(HOUR);
        let first = in_hand.begin().unwrap();
        first.append(&[1; 60]).unwrap();
        let second = in_hand.begin().unwrap();
        assert!(matches!(second.append(&[2; 41]), Err(Refusal::Busy)));
        // What is refused has no room any more.
        assert!(matches!(second.append(&[2]), Err(Refusal::TooSlow)));
        first.append(&[1; 40]).unwrap();
        assert_eq!(first.finish().unwrap().0, vec![1; 100]);
    }

    #[test]
    fn what_has_come_to_its_end_keeps_its_room_until_it_is_dropped() {
        let in_hand = in_hand(Duration::ZERO);
        let first = in_hand.begin().unwrap();
        first.append(&[1; 100]).unwrap();
        let (_, room) = first.finish().unwrap();
        let second = in_hand.begin().unwrap();
        assert!(matches!(second.append(&[2]), Err(Refusal::Busy)));
        drop((second, room));
        let third = in_hand.begin().unwrap();
        third.append(&[3; 100]).unwrap();
        assert_eq!(third.finish().unwrap().0, vec![3; 100]);
    }

    #[test]
    fn what_breaks_off_gives_its_room_back() {
        let in_hand = in_hand(HOUR);
        for _ in 0..3 {
            let broken_off = in_hand.begin().unwrap();
            broken_off.append(&[1; 100]).unwrap();
        }
        assert_eq!(in_hand.room.available_permits(), 2 * OVERHEAD + 100);
    }
}

//! The last accepted state of each pull request, while answers are replayed: those that were used
//! last in memory, the others in a file that has no name.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::Context as _;
use diff_integrity::Accepted;

/// States in memory, in bytes of their answers.
const IN_MEMORY: usize = 128 << 20;

struct Recent {
    state: Accepted,
    bytes: usize,
    used: u64,
}

/// Where a state is in the file.
#[derive(Clone, Copy)]
struct Place {
    at: u64,
    packed: usize,
    bytes: usize,
}

pub(crate) struct States {
    recent: HashMap<String, Recent>,
    /// Keys by when they were used.
    order: BTreeMap<u64, String>,
    bytes: usize,
    most: usize,
    clock: u64,
    away: HashMap<String, Place>,
    file: File,
    end: u64,
}

impl States {
    /// None yet. The file is made in this folder, and is gone with the process.
    pub(crate) fn new(folder: &Path) -> anyhow::Result<Self> {
        Self::with_memory(folder, IN_MEMORY)
    }

    fn with_memory(folder: &Path, most: usize) -> anyhow::Result<Self> {
        let file = tempfile::tempfile_in(folder)
            .with_context(|| format!("no temporary file in {}", folder.display()))?;
        Ok(Self {
            recent: HashMap::new(),
            order: BTreeMap::new(),
            bytes: 0,
            most,
            clock: 0,
            away: HashMap::new(),
            file,
            end: 0,
        })
    }

    /// The state of a pull request, if it has one.
    pub(crate) fn take(&mut self, key: &str) -> anyhow::Result<Option<Accepted>> {
        if let Some(recent) = self.recent.remove(key) {
            self.order.remove(&recent.used);
            self.bytes -= recent.bytes;
            return Ok(Some(recent.state));
        }
        let Some(place) = self.away.remove(key) else {
            return Ok(None);
        };
        let mut packed = vec![0; place.packed];
        self.file.read_exact_at(&mut packed, place.at)?;
        let json = zstd::bulk::decompress(&packed, place.bytes)?;
        Ok(Some(serde_json::from_slice(&json)?))
    }

    /// Keeps a state whose answer had so many bytes.
    pub(crate) fn put(&mut self, key: String, state: Accepted, bytes: usize) -> anyhow::Result<()> {
        self.clock += 1;
        self.bytes += bytes;
        self.order.insert(self.clock, key.clone());
        let recent = Recent {
            state,
            bytes,
            used: self.clock,
        };
        self.recent.insert(key, recent);
        while self.bytes > self.most
            && self.order.len() > 1
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.put_away(oldest)?;
        }
        Ok(())
    }

    fn put_away(&mut self, key: String) -> anyhow::Result<()> {
        let Some(recent) = self.recent.remove(&key) else {
            return Ok(());
        };
        self.bytes -= recent.bytes;
        let json = serde_json::to_vec(&recent.state)?;
        let packed = zstd::bulk::compress(&json, 1)?;
        let written = self.file.write_all_at(&packed, self.end);
        written.context("the states that do not fit into memory cannot be written")?;
        let place = Place {
            at: self.end,
            packed: packed.len(),
            bytes: json.len(),
        };
        self.end += packed.len() as u64;
        self.away.insert(key, place);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prmirror_proto::Valid;

    use super::*;

    const VALID: &str = include_str!("../../../../proto/fixtures/valid.v1.json");

    #[test]
    fn what_does_not_fit_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let valid: Valid = serde_json::from_str(VALID).unwrap();
        let state = |n: usize| Accepted::next(None, &valid, &format!("cause {n}"));
        let mut states = States::with_memory(folder.path(), 30).unwrap();
        for n in 0..20 {
            states.put(n.to_string(), state(n), 10).unwrap();
        }
        assert_eq!((states.recent.len(), states.away.len()), (3, 17));
        // Those that were used last are at hand.
        assert!(states.recent.contains_key("19") && states.away.contains_key("0"));
        for n in [0, 19, 7] {
            let taken = states.take(&n.to_string()).unwrap().unwrap();
            assert_eq!(
                serde_json::to_value(&taken).unwrap(),
                serde_json::to_value(state(n)).unwrap()
            );
            assert!(
                states.take(&n.to_string()).unwrap().is_none(),
                "it was taken"
            );
            states.put(n.to_string(), taken, 10).unwrap();
        }
        assert_eq!(states.bytes, 30);
        assert!(states.take("20").unwrap().is_none());
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 0, "the file has no name");
    }
}

//! A token's entry in the bucket of budgets: where it stands, who uses it, who wants to.

use serde::{Deserialize, Serialize};

use super::standing::{Standing, Urgency};

/// The entry.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Record {
    /// Where it stands.
    #[serde(flatten)]
    pub(crate) standing: Standing,
    /// Who may send a request now.
    pub(crate) leases: Vec<Lease>,
    /// Who waits for that, in the order of coming.
    pub(crate) wishes: Vec<Wish>,
}

/// The right to have one request under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lease {
    /// Who has it.
    pub(crate) holder: String,
    /// Counts up as long as the holder lives. Whoever sees it stand still for the lease's time takes
    /// the holder for dead; no two clocks are compared.
    pub(crate) beat: u64,
}

/// Somebody's wish for a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wish {
    /// Whose.
    pub(crate) holder: String,
    /// Whether it is for realtime work.
    pub(crate) realtime: bool,
}

impl Wish {
    pub(crate) const fn urgency(&self) -> Urgency {
        if self.realtime {
            Urgency::Realtime
        } else {
            Urgency::Bulk
        }
    }
}

impl Record {
    pub(crate) fn lease_of(&mut self, holder: &str) -> Option<&mut Lease> {
        self.leases.iter_mut().find(|lease| lease.holder == holder)
    }

    /// Gives `holder` a lease. `beat` is above all that it had before.
    pub(crate) fn grant(&mut self, holder: &str, beat: u64) {
        self.withdraw(holder);
        self.leases.push(Lease {
            holder: holder.to_owned(),
            beat,
        });
    }

    /// Takes the lease from `holder`.
    pub(crate) fn revoke(&mut self, holder: &str) {
        self.leases.retain(|lease| lease.holder != holder);
    }

    /// Notes that `holder` wants a lease, or how urgent that is now.
    pub(crate) fn wish(&mut self, holder: &str, urgency: Urgency) {
        let realtime = urgency == Urgency::Realtime;
        match self.wishes.iter_mut().find(|wish| wish.holder == holder) {
            Some(wish) => wish.realtime = realtime,
            None => self.wishes.push(Wish {
                holder: holder.to_owned(),
                realtime,
            }),
        }
    }

    /// Forgets the wish of `holder`.
    pub(crate) fn withdraw(&mut self, holder: &str) {
        self.wishes.retain(|wish| wish.holder != holder);
    }

    /// Those whose turn comes before that of `holder`: the urgent first, then in the order of coming.
    pub(crate) fn before(&self, holder: &str, urgency: Urgency) -> Vec<String> {
        let place = self.wishes.iter().position(|wish| wish.holder == holder);
        let place = place.unwrap_or(self.wishes.len());
        let before =
            self.wishes.iter().enumerate().filter(|(at, wish)| {
                wish.holder != holder && (wish.urgency(), *at) < (urgency, place)
            });
        before.map(|(_, wish)| wish.holder.clone()).collect()
    }
}

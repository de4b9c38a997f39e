//! Which tokens are shown a repository: an installation of an App sees what it was installed for, and a
//! person's token what the person may see.

use std::sync::Arc;
use std::time::Duration;

use prmirror_proto::RepositoryName;

use super::{Account, Shared};

/// For how long a token that was not shown a repository that another was shown is asked last.
pub(super) const BLIND: Duration = Duration::from_secs(3_600);

/// For how long a token that was shown something of a repository is believed to see it.
pub(super) const BELIEVED: Duration = Duration::from_secs(600);

/// What a request is about, as far as that decides which tokens may serve it.
#[derive(Clone, Default)]
pub(crate) struct About {
    /// The repository, if it is one.
    pub(crate) repository: Option<RepositoryName>,
    /// Tokens that it was asked with already, and is not to be asked with again.
    pub(crate) tried: Vec<Arc<Account>>,
}

impl About {
    /// A request about one repository.
    pub(crate) fn one(repository: &RepositoryName) -> Self {
        Self {
            repository: Some(repository.clone()),
            tried: Vec::new(),
        }
    }

    fn was_tried(&self, account: &Account) -> bool {
        self.tried
            .iter()
            .any(|tried| std::ptr::eq(&**tried, account))
    }
}

impl Shared {
    /// The tokens that are to serve a request: not those that it was asked with, nor those that are not
    /// shown its repository or that GitHub does not accept, while there are others.
    pub(super) fn choice(&self, about: &About) -> Vec<&Arc<Account>> {
        let left = self.accounts.iter();
        let left: Vec<&Arc<Account>> = left.filter(|account| !about.was_tried(account)).collect();
        let sees = |account: &Account| {
            let repository = about.repository.as_ref();
            repository.is_none_or(|repository| !account.is_blind(repository))
        };
        prefer(prefer(left, sees), |account| !account.is_shunned())
    }

    /// Whether this token is one of them.
    pub(super) fn serves(&self, account: &Account, about: &About) -> bool {
        let choice = self.choice(about);
        choice.iter().any(|one| std::ptr::eq(&***one, account))
    }
}

/// Those that are so, or all where none is.
fn prefer(all: Vec<&Arc<Account>>, so: impl Fn(&Account) -> bool) -> Vec<&Arc<Account>> {
    let those: Vec<&Arc<Account>> = all.iter().copied().filter(|account| so(account)).collect();
    if those.is_empty() { all } else { those }
}

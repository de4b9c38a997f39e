//! Reading a published copy: a file that nobody writes, in whatever process.

use std::path::Path;
use std::sync::Arc;

use duckdb::{AccessMode, Connection};

use crate::database::{Claim, session};
use crate::error::OpenError;
use crate::reader::Reader;

impl Reader {
    /// Opens a copy that publish has put where others may read it. It stays what it is: publish
    /// replaces the file, not its content.
    ///
    /// # Errors
    /// When there is none, or it is no database.
    pub fn of_copy(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::new(path.to_owned(), source);
        let config = duckdb::Config::default()
            .access_mode(AccessMode::ReadOnly)
            .and_then(|config| config.enable_autoload_extension(false))
            .map_err(failed)?;
        let connection = Connection::open_with_flags(path, config).map_err(failed)?;
        session(&connection).map_err(failed)?;
        Ok(Self::over(connection, Arc::new(Claim { path: None })))
    }
}

//! The only writer of DuckDB.

//! DuckDB: schema, landing, reconciliation, views; and the crate that runs them.

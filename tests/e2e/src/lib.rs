//! Stories told against the simulator, a real nats-server and a real DuckDB.

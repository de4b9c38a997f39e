//! Compares with the last accepted state and emits typed events.

//! What crosses a process boundary: subjects, envelope, messages, dedup ids.

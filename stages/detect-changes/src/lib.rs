//! Turns every sign of change into a change request.

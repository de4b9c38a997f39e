//! A GitHub to test against.

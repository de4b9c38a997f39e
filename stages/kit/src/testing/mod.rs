//! For the tests of stages.

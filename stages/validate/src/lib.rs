//! Decides whether an answer is whole and sane.

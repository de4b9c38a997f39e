//! Fetches whole pull requests, several a query, every connection to its end.

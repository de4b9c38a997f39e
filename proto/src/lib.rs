//! What crosses a process boundary: subjects, envelope, messages and dedup ids.
//!
//! Nothing here talks to anything: these are the words that the stages share. A message is a
//! [`Message`]: it knows its `KIND` and `VERSION`, the subject it travels on and the id under which
//! the broker recognises a repetition. [`envelope`] turns it into headers and bytes and back.
//!
//! JSON Schemas of every message, for readers in other languages, are in `schemas/`; bytes of every
//! version that was ever published are in `fixtures/` and are read by the tests of every build.

pub mod digest;
pub mod envelope;
pub mod key_data;
pub mod messages;
pub mod pull_request;
pub mod repository;
pub mod requests;
pub mod state;
pub mod subjects;
pub mod succession;
pub mod text;

pub use envelope::{DecodeError, Envelope, Message};
pub use key_data::KeyData;
pub use messages::{
    AnswerError, ApiCost, BackfillReport, ChangeRequest, ChangedBy, Changeset, ChangesetKind,
    CloudEvent, Connection, Decision, Event, EventData, FETCH_VERSION, FetchOutcome, Fetched,
    FieldChange, FieldDifference, Finding, InventoryPage, InventoryScope, JobKind, JobReport,
    JobStatus, Lane, NumberRange, NumbersExplained, Observation, Page, Provenance,
    QuarantineDecision, Quarantined, Severity, Source, ToldBy, Valid, Verification,
    WebhookDelivery, WorkflowRun,
};
pub use pull_request::{Collection, Completeness, PullRequest, Snapshot};
pub use repository::RepositoryName;

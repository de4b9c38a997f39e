//! Questions to a running mirror.

use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use async_nats::client::RequestErrorKind;
use prmirror_kit::Bus;
use prmirror_proto::requests::Reply;
use serde::de::DeserializeOwned;

use crate::arguments::Place;
use crate::folder;

/// How long an answer may take; a query is interrupted before.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);

/// Connects to the broker of a mirror.
pub(crate) async fn connect(place: &Place) -> anyhow::Result<Bus> {
    let pipeline = place.running()?;
    let url = place
        .nats
        .clone()
        .or(pipeline.nats.url)
        .or_else(|| folder::noted_url(&place.data))
        .ok_or_else(|| {
            anyhow!(
                "no mirror was ever started in {}: start one with `prmirror up`, or say where it is \
                 with --data or --nats",
                place.data.display()
            )
        })?;
    let hint = || format!("no mirror answers at {url}: is `prmirror up` running?");
    tokio::time::timeout(CONNECT, Bus::connect(&url, "prmirror"))
        .await
        .with_context(hint)?
        .with_context(hint)
}

/// Asks publish one question.
pub(crate) async fn ask<T: DeserializeOwned>(
    bus: &Bus,
    subject: &'static str,
    question: Vec<u8>,
) -> anyhow::Result<T> {
    ask_stage(bus, "publish", subject, question).await
}

/// Asks a stage one question.
pub(crate) async fn ask_stage<T: DeserializeOwned>(
    bus: &Bus,
    stage: &'static str,
    subject: &'static str,
    question: Vec<u8>,
) -> anyhow::Result<T> {
    ask_patiently(bus, stage, subject, question, PATIENCE).await
}

/// The same of something that takes longer.
pub(crate) async fn ask_patiently<T: DeserializeOwned>(
    bus: &Bus,
    stage: &'static str,
    subject: &'static str,
    question: Vec<u8>,
    patience: Duration,
) -> anyhow::Result<T> {
    let request = async_nats::Request::new()
        .payload(question.into())
        .timeout(Some(patience));
    let answer = match bus.client().send_request(subject, request).await {
        Ok(answer) => answer,
        Err(error) if error.kind() == RequestErrorKind::NoResponders => {
            bail!(
                "the broker runs, but {stage} does not answer: see logs/{stage}.log in the data folder"
            )
        }
        Err(error) => {
            return Err(error).with_context(|| format!("{stage} does not answer"));
        }
    };
    let reply: Reply<T> = serde_json::from_slice(&answer.payload)
        .with_context(|| format!("{stage} answers in another language"))?;
    match reply {
        Reply::Ok(value) => Ok(value),
        Reply::Error(reason) => bail!(reason),
    }
}

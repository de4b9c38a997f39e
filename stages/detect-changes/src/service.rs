//! `prmirror backfill`, answered over the broker.

use futures::StreamExt as _;
use jiff::Timestamp;
use prmirror_github::KeyDataQuery;
use prmirror_kit::config::Priority;
use prmirror_kit::{Bus, CancellationToken};
use prmirror_proto::RepositoryName;
use prmirror_proto::requests::{
    BackfillAction, BackfillAnswer, BackfillOptions, BackfillPlan, BackfillRequest, BackfillView,
    Reply, SUBJECT_BACKFILL,
};
use prmirror_proto::state::{BackfillState, BackfillStatus};

use crate::detector::{Detector, WalkError};
use crate::sizes::Basis;
use crate::{mirror, plan};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("this is no request about backfills: {0}")]
    Request(#[from] serde_json::Error),
    #[error("{0} is not mirrored here: {1}")]
    Unknown(RepositoryName, String),
    #[error(transparent)]
    Walk(#[from] WalkError),
}

/// Answers until the shutdown.
pub(crate) async fn serve(
    bus: Bus,
    detectors: Vec<Detector>,
    shutdown: CancellationToken,
) -> Result<(), async_nats::SubscribeError> {
    let client = bus.client().clone();
    let mut requests = client.subscribe(SUBJECT_BACKFILL).await?;
    loop {
        let request = tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            request = requests.next() => match request {
                Some(request) => request,
                None => return Ok(()),
            },
        };
        let Some(reply_to) = request.reply else {
            continue;
        };
        let (client, bus, detectors) = (client.clone(), bus.clone(), detectors.clone());
        // A plan waits for GitHub; nobody else need wait for it.
        tokio::spawn(async move {
            let reply = Reply::from(answer(&bus, &detectors, &request.payload).await);
            let answer = serde_json::to_vec(&reply).unwrap_or_default();
            if let Err(error) = client.publish(reply_to, answer.into()).await {
                tracing::debug!(%error, "an answer was not sent");
            }
        });
    }
}

async fn answer(
    bus: &Bus,
    detectors: &[Detector],
    asked: &[u8],
) -> Result<BackfillAnswer, Refusal> {
    let request: BackfillRequest = serde_json::from_slice(asked)?;
    let named = !request.repositories.is_empty();
    let chosen = chosen(detectors, &request.repositories)?;
    let mut plans = Vec::new();
    for detector in &chosen {
        match &request.action {
            BackfillAction::Tell => {}
            BackfillAction::Plan(options) => plans.push(planned(bus, detector, options).await?),
            BackfillAction::Start(options) => {
                if named || !is_under_way(detector.backfill_state().await?.as_ref()) {
                    detector.start(options).await?;
                }
            }
            BackfillAction::Pause { reason } => detector.pause(reason.as_deref()).await?,
            BackfillAction::Resume => detector.resume().await?,
        }
    }
    let mut backfills = Vec::with_capacity(chosen.len());
    for detector in chosen {
        backfills.push(view(detector, detector.backfill_state().await?));
    }
    Ok(BackfillAnswer { backfills, plans })
}

/// Those that are named, or all.
fn chosen<'d>(
    detectors: &'d [Detector],
    names: &[RepositoryName],
) -> Result<Vec<&'d Detector>, Refusal> {
    if names.is_empty() {
        return Ok(detectors.iter().collect());
    }
    let known = |name: &RepositoryName| {
        let wanted = name.to_string();
        let found = detectors
            .iter()
            .find(|d| d.repository.to_string().eq_ignore_ascii_case(&wanted));
        found.ok_or_else(|| {
            let all: Vec<String> = detectors.iter().map(|d| d.repository.to_string()).collect();
            Refusal::Unknown(name.clone(), format!("there is {}", all.join(", ")))
        })
    };
    names.iter().map(known).collect()
}

/// Whether a backfill goes on, or will when it is resumed.
fn is_under_way(state: Option<&BackfillState>) -> bool {
    state.is_some_and(|state| match state.status {
        BackfillStatus::Active | BackfillStatus::RateLimitLow | BackfillStatus::Paused => true,
        BackfillStatus::Completed | BackfillStatus::Failed | BackfillStatus::Replaced => false,
    })
}

/// One point: the total is on every page, however short.
async fn planned(
    bus: &Bus,
    detector: &Detector,
    options: &BackfillOptions,
) -> Result<BackfillPlan, Refusal> {
    let page = detector
        .client
        .key_data(&detector.repository, KeyDataQuery::Created, 1, None)
        .await
        .map_err(WalkError::from)?;
    let measured = mirror::measured(bus).await;
    let pace = mirror::pace(bus, &detector.repository).await;
    let known = detector.backfill_state().await?;
    let known = known.unwrap_or_else(|| BackfillState::new(String::new(), Timestamp::now()));
    let basis = Basis::of(&known, &pace, measured.points_left());
    Ok(plan::plan(
        &detector.repository,
        page.total_count,
        basis,
        options,
        &measured,
        detector.config.backfill_page,
        detector.floor,
    ))
}

fn view(detector: &Detector, state: Option<BackfillState>) -> BackfillView {
    let priority = match detector.priority {
        Priority::High => "high",
        Priority::Normal => "normal",
        Priority::Low => "low",
    };
    BackfillView {
        repository: detector.repository.clone(),
        priority: priority.to_owned(),
        eta: state.as_ref().and_then(|state| state.eta(Timestamp::now())),
        state,
    }
}

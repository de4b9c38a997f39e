//! A queue is worked down, and the process is told to end then.

use std::time::Duration;

use fetch_pr::{DrainError, FetchPr, drain};
use github_sim::{Config, Generate, Sim};
use jiff::{SignedDuration, Timestamp};
use prmirror_github::{Client, ClientConfig, Token};
use prmirror_kit::testing::{NatsServer, Running, eventually, setup, stored};
use prmirror_kit::{Bus, Outgoing, Stage as _};
use prmirror_proto::RepositoryName;
use prmirror_proto::messages::{
    ChangeRequest, Fetched, JobKind, JobReport, JobStatus, Lane, Source,
};
use prmirror_proto::subjects::{STREAM_CHANGES, STREAM_FETCHED, STREAM_JOBS};

fn request(number: u64, lane: Lane, not_before: Option<Timestamp>) -> ChangeRequest {
    ChangeRequest {
        repository: RepositoryName::new("octo-org", "octo-repo").unwrap(),
        number,
        id: None,
        lane,
        source: Source::Backfill,
        basis: "a test".to_owned(),
        reason: "a test".to_owned(),
        noticed_at: Timestamp::now(),
        changed_at: None,
        not_before,
        urgent: false,
        seen: None,
    }
}

async fn send(bus: &Bus, request: &ChangeRequest) {
    let sent = bus.publish(Outgoing::new(request).unwrap(), None).await;
    sent.unwrap();
}

fn start(bus: &Bus, sim: &Sim, data: &std::path::Path) -> Running {
    let (client, _costs) = Client::new(ClientConfig {
        api_url: sim.url(),
        token: Token::new(sim.token()).unwrap(),
        timeout: Duration::from_secs(20),
        max_in_flight: 1,
        user_agent: "fetch-pr-tests".to_owned(),
        stage: "fetch-pr",
        floor: 0,
    })
    .unwrap();
    let setup = setup(FetchPr::NAME, bus, data);
    let fetch = setup.pipeline.fetch.clone();
    Running::start(setup, FetchPr::new(client, fetch, vec![Lane::Bulk]))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lane_is_empty_at_the_end_and_the_other_is_left_alone() {
    let sim = Sim::start(Config::generated(Generate::new(30, 3))).unwrap();
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    // One of them is known by its id; others among the numbers are issues.
    let known = sim.truth("octo-org", "octo-repo").swap_remove(0);
    let (known, id) = (
        known["number"].as_u64().unwrap(),
        known["id"].as_str().unwrap(),
    );
    for number in 1..=30 {
        let mut request = request(number, Lane::Bulk, None);
        request.id = (number == known).then(|| id.to_owned());
        send(&bus, &request).await;
    }
    send(&bus, &request(1, Lane::Realtime, None)).await;
    let data = tempfile::tempdir().unwrap();
    let running = start(&bus, &sim, data.path());
    let shutdown = running.setup.shutdown.clone();
    drain(&running.setup, &[Lane::Bulk], Duration::from_secs(60))
        .await
        .unwrap();
    assert!(shutdown.is_cancelled());
    running.stop().await.unwrap();
    let fetched = stored(&bus, STREAM_FETCHED).await;
    assert_eq!(fetched.len(), 30);
    // An answer says by which id it was asked for.
    let asked = fetched.iter().filter_map(|message| {
        let fetched: Fetched = message.decode();
        fetched.id.map(|id| (fetched.number, id))
    });
    assert_eq!(asked.collect::<Vec<_>>(), [(known, id.to_owned())]);
    let left = stored(&bus, STREAM_CHANGES).await;
    assert_eq!(left.len(), 1);
    assert!(left[0].subject.starts_with("pr.changes.realtime."));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_fetched_now_is_told() {
    let sim = Sim::start(Config::generated(Generate::new(3, 3))).unwrap();
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let tomorrow = Timestamp::now() + SignedDuration::from_hours(24);
    send(&bus, &request(1, Lane::Bulk, None)).await;
    send(&bus, &request(2, Lane::Bulk, Some(tomorrow))).await;
    let data = tempfile::tempdir().unwrap();
    let running = start(&bus, &sim, data.path());
    // Longer than a document waits for company.
    let patience = Duration::from_secs(6);
    let left = drain(&running.setup, &[Lane::Bulk], patience).await;
    assert!(
        matches!(left, Err(DrainError::Left { left: 1, .. })),
        "{left:?}"
    );
    let job = running.setup.job.now();
    assert_eq!(
        (job.kind, job.status),
        (JobKind::Drain, JobStatus::Incomplete)
    );
    assert_eq!((job.done, job.left), (1, Some(1)));
    running.stop().await.unwrap();
    assert_eq!(stored(&bus, STREAM_FETCHED).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_end_before_its_time_it_says_what_is_left() {
    let sim = Sim::start(Config::generated(Generate::new(3, 3))).unwrap();
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let tomorrow = Timestamp::now() + SignedDuration::from_hours(24);
    send(&bus, &request(2, Lane::Bulk, Some(tomorrow))).await;
    let data = tempfile::tempdir().unwrap();
    let running = start(&bus, &sim, data.path());
    let shutdown = running.setup.shutdown.clone();
    eventually("the stage has its consumer", || async {
        let waiting = bus.unsettled(STREAM_CHANGES, "fetch-pr-bulk").await;
        waiting.unwrap().filter(|waiting| *waiting == 1)
    })
    .await;
    let draining = drain(&running.setup, &[Lane::Bulk], Duration::from_secs(600));
    let (left, ()) = tokio::join!(draining, async { shutdown.cancel() });
    assert!(
        matches!(left, Err(DrainError::Ended { left: 1 })),
        "{left:?}"
    );
    assert_eq!(running.setup.job.now().status, JobStatus::Cancelled);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_says_how_it_stands_from_its_beginning_to_its_end() {
    let sim = Sim::start(Config::generated(Generate::new(5, 3))).unwrap();
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    for number in 1..=5 {
        send(&bus, &request(number, Lane::Bulk, None)).await;
    }
    let data = tempfile::tempdir().unwrap();
    let running = start(&bus, &sim, data.path());
    let setup = running.setup.clone();
    let job = setup.job.clone();
    job.works_on(&[Lane::Bulk]);
    let begun = job.begin(&setup.bus).await;
    drain(&setup, &[Lane::Bulk], Duration::from_secs(60))
        .await
        .unwrap();
    let result = running.stop().await;
    job.end(&bus, begun, &result).await;
    let reports: Vec<JobReport> = stored(&bus, STREAM_JOBS)
        .await
        .iter()
        .map(|message| message.decode())
        .collect();
    let [first, last] = reports.as_slice() else {
        panic!("{reports:?}");
    };
    assert_eq!(
        (first.status, first.finished_at),
        (JobStatus::Running, None)
    );
    assert_eq!(
        (last.kind, last.status),
        (JobKind::Drain, JobStatus::Completed)
    );
    assert_eq!(
        (last.done, last.left, last.lanes.as_slice()),
        (5, Some(0), &[Lane::Bulk][..])
    );
    assert!(last.job == first.job && last.finished_at == Some(last.at));

    // A process that fails says why, too.
    let other = start(&bus, &sim, data.path());
    let job = other.setup.job.clone();
    let begun = job.begin(&bus).await;
    let failure = Err("the disk is full".to_owned());
    job.end(&bus, begun, &failure).await;
    let reports = stored(&bus, STREAM_JOBS).await;
    let last: JobReport = reports.last().unwrap().decode();
    assert_eq!(
        (last.kind, last.status),
        (JobKind::Stage, JobStatus::Failed)
    );
    assert_eq!(last.reason.as_deref(), Some("the disk is full"));
    other.stop().await.unwrap();
}

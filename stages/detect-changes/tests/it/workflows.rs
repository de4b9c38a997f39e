//! The end of a workflow that works for the mirror is told, also of one that was killed.

use crate::common::{Post, World};
use prmirror_kit::testing::stored;
use prmirror_proto::messages::{JobKind, JobReport, JobStatus, WorkflowRun};
use prmirror_proto::subjects::{BUCKET_PROBES, STREAM_JOBS, workflow_key};
use serde_json::{Value, json};

/// A run in a repository that is not mirrored.
fn run(id: u64, name: &str, action: &str, conclusion: Value) -> Value {
    json!({
        "action": action,
        "workflow_run": {
            "id": id, "name": name, "run_attempt": 2, "conclusion": conclusion,
            "head_sha": "f".repeat(40), "head_branch": "main", "pull_requests": [],
            "run_started_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:20:00Z",
            "html_url": format!("https://github.com/octo-org/ops/actions/runs/{id}"),
        },
        "repository": { "id": 9, "full_name": "octo-org/ops", "default_branch": "main" },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_worked_for_the_mirror_ends_its_job() {
    let world = World::new(1).await;
    let process = world.start().await;
    // As drains note it when they begin; one of them ended before and took its own note with it.
    let ops = "octo-org/ops".parse().unwrap();
    let key = workflow_key(&ops, 17, "the-second-process");
    let probes = world.bus.kv(BUCKET_PROBES).await.unwrap();
    let noted = WorkflowRun {
        repository: ops.clone(),
        run: 17,
        attempt: 2,
        url: None,
    };
    probes.put(&key, &noted).await.unwrap();
    for (n, payload) in [
        run(17, "any name", "in_progress", Value::Null),
        run(17, "any name", "completed", json!("cancelled")),
        // Somebody else's.
        run(18, "CI", "completed", json!("success")),
        // It failed before it could note anything.
        run(19, "prmirror bulk", "completed", json!("startup_failure")),
    ]
    .iter()
    .enumerate()
    {
        let post = Post::delivery("workflow_run", &format!("d-{n}"), payload);
        assert_eq!(post.send(process.address).await.0, 202);
    }
    world.settled().await;
    let mut reports: Vec<JobReport> = stored(&world.bus, STREAM_JOBS)
        .await
        .iter()
        .map(|message| message.decode())
        .collect();
    reports.sort_by(|one, other| one.job.cmp(&other.job));
    let [killed, unheard] = reports.as_slice() else {
        panic!("{reports:?}");
    };
    assert_eq!(
        (killed.kind, killed.status),
        (JobKind::Workflow, JobStatus::Cancelled)
    );
    let workflow = killed.workflow.as_ref().unwrap();
    assert_eq!(
        (&workflow.repository, workflow.run, workflow.attempt),
        (&ops, 17, 2)
    );
    assert_eq!(killed.finished_at, "2026-01-01T00:20:00Z".parse().ok());
    assert_eq!(unheard.workflow.as_ref().unwrap().run, 19);
    assert_eq!(unheard.status, JobStatus::Failed);
    let reason = "the workflow's conclusion: startup_failure";
    assert_eq!(unheard.reason.as_deref(), Some(reason));
    let left = probes.get::<WorkflowRun>(&key).await.unwrap();
    assert!(left.is_none(), "nothing more is to be heard of it");
    process.running.stop().await.unwrap();
}

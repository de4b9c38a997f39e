//! What verifications found, and what was decided about what had been set aside.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::common::{STREAM, at, batch, changeset, page, pull_request, repository, rows};
use prmirror_analytics::{Database, ReconcileSettings, Record};
use prmirror_proto::messages::{ChangesetKind, Decision};
use prmirror_proto::{
    FieldDifference, InventoryScope, QuarantineDecision, Quarantined, Source, Verification,
};

fn verification(run: &str, number: u64, seconds: i64, columns: &[&str]) -> Record {
    Record::Verification(Verification {
        run: run.into(),
        repository: repository(),
        number,
        node_id: Some(format!("PR_{number}")),
        observed_at: at(seconds),
        version: Some("v".into()),
        fields: 40,
        differences: columns
            .iter()
            .map(|column| FieldDifference {
                table: "pull_requests".into(),
                key: String::new(),
                column: Some((*column).into()),
                landed: Some("a".into()),
                github: None,
            })
            .collect(),
    })
}

fn land(database: &mut Database, sequence: u64, records: Vec<Record>) {
    database
        .land_at(&batch(STREAM, sequence, records), at(1_000))
        .unwrap();
}

#[test]
fn of_each_run_and_pull_request_the_newest_stays() {
    let once = [
        verification("one", 1, 10, &["title", "body"]),
        verification("one", 1, 20, &["title"]),
        verification("one", 2, 10, &[]),
        verification("two", 1, 30, &[]),
    ];
    // In one batch, one after the other, backwards.
    for batches in [
        vec![once.to_vec()],
        once.iter().map(|one| vec![one.clone()]).collect(),
        once.iter().rev().map(|one| vec![one.clone()]).collect(),
    ] {
        let mut database = Database::in_memory().unwrap();
        let mut sequence = 1;
        for records in batches {
            let count = records.len() as u64;
            land(&mut database, sequence, records);
            sequence += count;
        }
        assert_eq!(
            rows(
                &database,
                "SELECT run, number, observed_at, fields, differences FROM verifications ORDER BY ALL"
            ),
            [
                r#"["one",1,"2026-03-01T12:00:20Z",40,1]"#,
                r#"["one",2,"2026-03-01T12:00:10Z",40,0]"#,
                r#"["two",1,"2026-03-01T12:00:30Z",40,0]"#,
            ]
        );
        assert_eq!(
            rows(
                &database,
                "SELECT run, number, table_name, row_key, column_name, landed, github
                 FROM verification_differences ORDER BY ALL"
            ),
            [r#"["one",1,"pull_requests","","title","a",null]"#]
        );
    }
}

#[test]
fn the_truth_rate_has_wilsons_interval() {
    let mut database = Database::in_memory().unwrap();
    let first = (1..=10).map(|number| verification("first", number, 10, &[]));
    // 9 of 10 are right: Wilson's interval is 0.5958 to 0.9821.
    let second = (1..=10).map(|number| {
        let differ: &[&str] = if number == 4 { &["title", "body"] } else { &[] };
        verification(
            "second",
            number,
            20 + i64::try_from(number).unwrap(),
            differ,
        )
    });
    // What is looked at besides, since it was repaired, was not drawn by chance.
    let besides = verification("verify-repaired-third", 4, 60, &["title"]);
    let all = first.chain(second).chain([besides]);
    land(&mut database, 1, all.collect());
    assert_eq!(
        rows(
            &database,
            "SELECT repository, run, is_newest, started_at, finished_at, pull_requests, wrong, fields,
                    differences, rate, round(low, 4), round(high, 4)
             FROM truth_rate ORDER BY started_at"
        ),
        [
            r#"["octo/mirror","first",false,"2026-03-01T12:00:10Z","2026-03-01T12:00:10Z",10,0,400,0,1.0,0.7225,1.0]"#,
            r#"["octo/mirror","second",true,"2026-03-01T12:00:21Z","2026-03-01T12:00:30Z",10,1,400,2,0.9,0.5958,0.9821]"#,
        ]
    );
}

/// A mirror in step, and the verifications of it.
struct Scored {
    database: Database,
    sequence: u64,
}

impl Scored {
    /// One of so many pull requests.
    fn of(count: u64) -> Self {
        let mut this = Self {
            database: Database::in_memory().unwrap(),
            sequence: 1,
        };
        let all: Vec<_> = (1..=count).map(|number| pull_request(number, 1)).collect();
        let seen = all.iter();
        let seen = seen.map(|one| Record::Changeset(changeset(ChangesetKind::New, one, at(10))));
        this.land(seen.collect());
        let listed = page(InventoryScope::All, "scan", at(20), &all);
        this.land(vec![Record::Inventory(listed)]);
        this
    }

    fn land(&mut self, records: Vec<Record>) {
        let count = records.len() as u64;
        land(&mut self.database, self.sequence, records);
        self.sequence += count;
    }

    /// The lowest so many are compared then, of which the lowest so many are wrong.
    fn verified(&mut self, run: &str, seconds: i64, pull_requests: u64, wrong: u64) {
        let looks = (1..=pull_requests).map(|number| {
            let differ: &[&str] = if number <= wrong { &["title"] } else { &[] };
            verification(run, number, seconds, differ)
        });
        self.land(looks.collect());
    }

    /// The truth rate as it is sampled then, and the share of the completeness that the score is.
    fn sampled(&mut self, seconds: i64) -> Vec<String> {
        let settings = ReconcileSettings::default();
        self.database.reconcile(at(seconds), &settings).unwrap();
        rows(
            &self.database,
            "SELECT round(truth_rate, 4), round(score / completeness_percent, 4)
             FROM quality ORDER BY sampled_at DESC LIMIT 1",
        )
    }
}

#[test]
fn the_score_goes_by_what_says_something_of_all() {
    let mut mirror = Scored::of(25);
    mirror.verified("verify-1", 100, 20, 1);
    // It may be under way: what differs comes last.
    assert_eq!(mirror.sampled(200), ["[null,1.0]"]);
    assert_eq!(mirror.sampled(3_600), ["[null,1.0]"]);
    let first = ["[0.95,0.95]"];
    assert_eq!(mirror.sampled(3_700), first);
    // Too few.
    mirror.verified("verify-2", 4_000, 19, 19);
    assert_eq!(mirror.sampled(8_000), first);
    // Those that are open.
    mirror.verified("verify-open-verify-3", 9_000, 25, 0);
    assert_eq!(mirror.sampled(13_000), first);
    // Nor does one of those end another one that is under way.
    mirror.verified("verify-3", 13_100, 25, 15);
    mirror.verified("verify-open-verify-4", 13_200, 25, 0);
    assert_eq!(mirror.sampled(13_300), first);
    // Enough, and finished when the next one has begun.
    mirror.verified("verify-4", 14_000, 25, 0);
    assert_eq!(mirror.sampled(14_100), ["[0.4,0.4]"]);
    mirror.verified("verify-5", 14_200, 1, 0);
    assert_eq!(mirror.sampled(14_300), ["[1.0,1.0]"]);
}

/// Where there are fewer than are enough elsewhere, all of them are.
#[test]
fn the_score_of_a_few_pull_requests_goes_by_all_of_them() {
    let mut mirror = Scored::of(3);
    mirror.verified("verify-1", 100, 3, 1);
    let two_of_three = ["[0.6667,0.6667]"];
    assert_eq!(mirror.sampled(4_000), two_of_three);
    mirror.verified("verify-2", 5_000, 2, 0);
    assert_eq!(mirror.sampled(9_000), two_of_three);
}

/// A mirror of one pull request, what is landed in it one by one, and its findings of verifications.
struct Followed {
    database: Database,
    sequence: u64,
}

impl Followed {
    fn new() -> Self {
        let mut this = Self {
            database: Database::in_memory().unwrap(),
            sequence: 0,
        };
        let known = changeset(ChangesetKind::New, &pull_request(1, 1), at(10));
        this.land(10, Record::Changeset(known));
        this.swept(12);
        this
    }

    fn land(&mut self, seconds: i64, record: Record) {
        self.sequence += 1;
        let batch = batch(STREAM, self.sequence, [record]);
        self.database.land_at(&batch, at(seconds)).unwrap();
    }

    fn swept(&mut self, seconds: i64) {
        let scan = format!("scan-{seconds}");
        let all = [pull_request(1, 1)];
        let page = page(InventoryScope::All, &scan, at(seconds), &all);
        self.land(seconds, Record::Inventory(page));
    }

    fn verified(&mut self, seconds: i64, columns: &[&str]) {
        let run = format!("run-{seconds}");
        self.land(seconds, verification(&run, 1, seconds, columns));
    }

    /// Its rows are written anew.
    fn written(&mut self, seconds: i64) {
        let mut again = changeset(ChangesetKind::Volatile, &pull_request(1, 1), at(seconds));
        again.kind = ChangesetKind::Unchanged;
        again.provenance.source = Source::Finding;
        self.land(seconds, Record::Changeset(again));
    }

    /// Status and attempts of its finding.
    fn reconciled(&mut self, seconds: i64, grace: Duration) -> Vec<String> {
        let settings = ReconcileSettings {
            grace,
            ..ReconcileSettings::default()
        };
        self.database.reconcile(at(seconds), &settings).unwrap();
        rows(
            &self.database,
            "SELECT status, attempts FROM findings WHERE rule = 'verified_wrong'",
        )
    }
}

/// No list shows every field, so neither a sweep nor a fetch is a witness.
#[test]
fn what_a_verification_found_is_closed_by_a_verification() {
    let mut world = Followed::new();
    world.verified(20, &["title"]);
    let asked = world.reconciled(30, Duration::ZERO);
    assert_eq!(asked, [r#"["repair_requested",1]"#]);
    world.written(35);
    let repaired = [r#"["repaired",1]"#];
    assert_eq!(world.reconciled(40, Duration::ZERO), repaired);
    world.swept(50);
    assert_eq!(world.reconciled(60, Duration::ZERO), repaired);
    world.written(65);
    assert_eq!(world.reconciled(70, Duration::ZERO), repaired);
    // It is no gap meanwhile.
    let open = "SELECT * FROM open_findings WHERE rule = 'verified_wrong'";
    assert_eq!(rows(&world.database, open), [""; 0]);
    world.verified(80, &[]);
    let closed = world.reconciled(90, Duration::ZERO);
    assert_eq!(closed, [r#"["closed",1]"#]);
}

#[test]
fn what_is_verified_wrong_and_then_right_needs_no_repair() {
    let mut world = Followed::new();
    let patient = Duration::from_secs(600);
    world.verified(20, &["title"]);
    assert_eq!(world.reconciled(30, patient), [r#"["open",0]"#]);
    world.verified(40, &[]);
    assert_eq!(world.reconciled(50, patient), [r#"["closed",0]"#]);
    // Rows that were written anew, by whatever, are only said to be right.
    world.verified(60, &["title"]);
    assert_eq!(world.reconciled(70, patient), [r#"["open",0]"#]);
    world.written(75);
    assert_eq!(world.reconciled(80, patient), [r#"["repaired",0]"#]);
    world.verified(85, &["title"]);
    assert_eq!(world.reconciled(90, patient), [r#"["open",0]"#]);
}

#[test]
fn what_was_decided_is_open_no_more_until_it_fails_again() {
    let mut database = Database::in_memory().unwrap();
    let quarantined = |number: Option<u64>, seconds| {
        Record::Quarantined(Quarantined {
            stage: "validate".into(),
            code: "answer-empty".into(),
            reason: "the body is empty".into(),
            repository: number.map(|_| repository()),
            number,
            original_subject: String::new(),
            original_headers: BTreeMap::new(),
            original_body: String::new(),
            deliveries: 1,
            quarantined_at: at(seconds),
        })
    };
    let decision = |sequence, decision, seconds| {
        Record::Decision(QuarantineDecision {
            sequence,
            message_id: format!("{STREAM}:{sequence}"),
            stage: "validate".into(),
            decision,
            reason: Some("the rule was wrong".into()),
            decided_at: at(seconds),
        })
    };
    let open = |database: &Database| {
        rows(
            database,
            "SELECT sequence FROM open_quarantine ORDER BY sequence",
        )
    };
    let aside = [Some(1), Some(2), None].map(|number| quarantined(number, 10));
    land(&mut database, 1, aside.into());
    assert_eq!(open(&database), ["[1]", "[2]", "[3]"]);
    let decisions = vec![
        decision(1, Decision::Released, 20),
        decision(3, Decision::Dropped, 20),
    ];
    land(&mut database, 4, decisions.clone());
    assert_eq!(open(&database), ["[2]"]);
    // The same again says nothing new.
    land(&mut database, 6, decisions);
    assert_eq!(
        rows(
            &database,
            "SELECT sequence, stage, decision, reason, decided_at FROM quarantine_decisions ORDER BY ALL"
        ),
        [
            r#"[1,"validate","released","the rule was wrong","2026-03-01T12:00:20Z"]"#,
            r#"[3,"validate","dropped","the rule was wrong","2026-03-01T12:00:20Z"]"#,
        ]
    );
    // It failed again.
    land(&mut database, 8, vec![quarantined(Some(1), 30)]);
    assert_eq!(open(&database), ["[2]", "[8]"]);
    let seen = changeset(ChangesetKind::New, &pull_request(1, 1), at(40));
    land(&mut database, 9, vec![Record::Changeset(seen)]);
    assert_eq!(open(&database), ["[2]"]);
}

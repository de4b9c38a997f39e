//! What was seen at GitHub against what has landed.

use super::*;

#[test]
fn missing() {
    let mut world = World::new();
    world.listed(
        InventoryScope::Recent,
        20,
        &[pull_request(1, 1), pull_request(2, 1)],
    );
    world.observed(10, &pull_request(2, 1));
    assert_eq!(
        world.found(),
        [
            r#"missing [1,"listed as OPEN, updated at 2026-03-01T12:00:01Z; not landed","2026-03-01T12:00:01Z","2026-03-01T12:00:20Z"]"#
        ]
    );
}

#[test]
fn missing_when_gone_and_listed_again() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    world.listed(InventoryScope::All, 15, std::slice::from_ref(&known));
    world.observed(10, &known).gone(20, &known);
    assert_eq!(world.found(), SILENT);
    world.listed(InventoryScope::All, 30, &[known]);
    assert_eq!(
        world.found(),
        [
            r#"missing [1,"listed at 2026-03-01T12:00:30Z; landed as gone at 2026-03-01T12:00:20Z","2026-03-01T12:00:01Z","2026-03-01T12:00:30Z"]"#
        ]
    );
}

#[test]
fn unlanded() {
    let mut world = World::new();
    let (old, new) = (pull_request(1, 1), pull_request(1, 2));
    world.observed(10, &old).confirmed(15, &old);
    assert_eq!(world.found(), SILENT);
    world.confirmed(20, &new);
    assert_eq!(
        world.found(),
        [format!(
            r#"unlanded [1,"version {} was confirmed at 2026-03-01T12:00:20Z; landed {}",null,"2026-03-01T12:00:20Z"]"#,
            new.version(),
            old.version()
        )]
    );
    world.observed(20, &new);
    assert_eq!(world.found(), SILENT);
}

#[test]
fn set_aside() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    world.observed(10, &known);
    for (number, code, seconds) in [(1, "shape", 20), (1, "torn", 30), (2, "shape", 30)] {
        world.land(Record::Quarantined(quarantined(number, code, at(seconds))));
    }
    assert_eq!(
        world.found(),
        [
            r#"set_aside [1,"2 messages; the newest: torn by validate",null,"2026-03-01T12:00:30Z"]"#,
            r#"set_aside [2,"1 messages; the newest: shape by validate",null,"2026-03-01T12:00:30Z"]"#,
        ]
    );
    // Seen to be as it was landed, or to be no more.
    world.confirmed(40, &known).gone(40, &pull_request(2, 1));
    assert_eq!(world.found(), SILENT);
}

#[test]
fn head_differs() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    let mut pushed = known.clone();
    pushed.head_ref_oid = "f".repeat(40);
    world.observed(10, &known);
    world.listed(InventoryScope::Recent, 20, &[pushed]);
    // CI of another head is another thing, whatever it is.
    assert_eq!(
        world.found(),
        [format!(
            r#"head_differs [1,"head is ffffffffffffffffffffffffffffffffffffffff; landed {}","2026-03-01T12:00:01Z","2026-03-01T12:00:20Z"]"#,
            known.head_ref_oid
        )]
    );
}

#[test]
fn closed_but_open() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    world.observed(10, &known);
    world.listed(InventoryScope::Recent, 20, &[closed(known)]);
    assert_eq!(
        world.found(),
        [
            r#"closed_but_open [1,"state is CLOSED; landed OPEN","2026-03-01T12:00:01Z","2026-03-01T12:00:20Z"]"#
        ]
    );
}

#[test]
fn closed_but_open_when_no_finished_list_of_open_ones_has_it() {
    let mut world = World::new();
    let known = [pull_request(1, 1), pull_request(2, 1)];
    world.observed(10, &known[0]).observed(10, &known[1]);
    // A broken-off list says nothing, and neither does one of what changed lately.
    let mut broken_off = page(InventoryScope::Open, "broken-off", at(15), &known[..1]);
    broken_off.last = false;
    world.land(Record::Inventory(broken_off));
    world.listed(InventoryScope::Recent, 16, &known[..1]);
    assert_eq!(world.found(), SILENT);
    world.listed(InventoryScope::Open, 20, &known[..1]);
    assert_eq!(
        world.found(),
        [
            r#"closed_but_open [2,"not among the open ones listed from 2026-03-01T12:00:20Z on; landed OPEN at 2026-03-01T12:00:10Z",null,"2026-03-01T12:00:20Z"]"#
        ]
    );
    // Listed since: what that list showed is what counts.
    world.listed(InventoryScope::Recent, 25, &known[1..]);
    assert_eq!(world.found(), SILENT);
}

#[test]
fn open_but_closed() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    world.observed(10, &closed(known.clone()));
    world.listed(InventoryScope::Open, 20, &[known]);
    assert_eq!(
        world.found(),
        [
            r#"open_but_closed [1,"state is OPEN; landed CLOSED","2026-03-01T12:00:01Z","2026-03-01T12:00:20Z"]"#
        ]
    );
}

#[test]
fn ci_differs() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    let mut failed = known.clone();
    failed.checks = Some(checks(1, 1, "FAILURE"));
    world.observed(10, &known);
    world.listed(InventoryScope::Open, 20, &[failed]);
    let found = world.found();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with(r#"ci_differs [1,"CI is FAILURE (FAILURE:2"#),
        "{found:?}"
    );
    assert!(found[0].contains("landed SUCCESS (SUCCESS:2"), "{found:?}");
    assert!(
        found[0].ends_with(r#"null,"2026-03-01T12:00:20Z"]"#),
        "{found:?}"
    );
}

#[test]
fn ci_differs_when_a_rerun_ended_as_the_run_before() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    let mut rerun = known.clone();
    rerun.checks = Some(checks(1, 2, "SUCCESS"));
    world.observed(10, &known);
    world.listed(InventoryScope::Open, 20, &[rerun]);
    let found = world.found();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("ci_differs [1,"), "{found:?}");
}

#[test]
fn ci_of_more_contexts_than_a_page_shows_is_compared_by_its_counts() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    let mut many = known.clone();
    let contexts = &mut many.checks.as_mut().unwrap().contexts;
    let one = contexts.nodes[0].clone();
    contexts.nodes = (0..101)
        .map(|i| CiContext {
            id: format!("CR_{i}"),
            ..one.clone()
        })
        .collect();
    contexts.total = Some(101);
    let mut many_others = many.clone();
    many_others.checks.as_mut().unwrap().contexts.nodes[0].id = "another".into();
    world.observed(10, &many);
    world.listed(InventoryScope::Open, 20, &[many_others]);
    assert_eq!(world.found(), SILENT);
}

#[test]
fn stale() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    let mut changed = known.clone();
    changed.updated_at = at(9);
    changed.is_draft = true;
    changed.review_decision = None;
    changed.labels.nodes[0].name = "ready".into();
    changed.reviews.total = Some(2);
    world.observed(10, &known);
    world.listed(InventoryScope::Recent, 20, &[changed]);
    let found = world.found();
    assert_eq!(found.len(), 1, "{found:?}");
    for part in [
        r#"stale [1,"updated at 2026-03-01T12:00:09Z, landed 2026-03-01T12:00:01Z; "#,
        "; draft is true, landed false; ",
        "; review decision is none, landed REVIEW_REQUIRED; ",
        "; labels are [ready], landed [revision-1]; ",
        "'reviews': 2,",
    ] {
        assert!(found[0].contains(part), "{part} in {found:?}");
    }
}

#[test]
fn labels_beyond_a_page_are_compared_by_their_total() {
    let mut world = World::new();
    let mut many = pull_request(1, 1);
    let label = many.labels.nodes[0].clone();
    many.labels.nodes = (0..250)
        .map(|n| Label {
            name: format!("label {n:03}"),
            ..label.clone()
        })
        .collect();
    many.labels.total = Some(250);
    world.observed(10, &many);
    // What a page of it shows.
    let mut page = many.clone();
    page.labels.nodes.truncate(100);
    world.listed(InventoryScope::Recent, 20, std::slice::from_ref(&page));
    assert_eq!(world.found(), SILENT);
    // One of them is another.
    page.labels.nodes[7].name = "another".into();
    world.listed(InventoryScope::Recent, 30, std::slice::from_ref(&page));
    let found = world.found();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with(r#"stale [1,"labels are [another, "#),
        "{found:?}"
    );
    page.labels.nodes[7].name = "label 007".into();
    page.labels.total = Some(251);
    world.listed(InventoryScope::Recent, 40, &[page]);
    let found = world.found();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with(r#"stale [1,"totals are "#),
        "{found:?}"
    );
}

#[test]
fn stale_without_a_new_updated_at() {
    let mut world = World::new();
    let known = pull_request(1, 1);
    let mut resolved = known.clone();
    resolved.review_threads.total = Some(2);
    world.observed(10, &known);
    world.listed(InventoryScope::Recent, 20, &[resolved]);
    let found = world.found();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with(r#"stale [1,"totals are "#),
        "{found:?}"
    );
}

#[test]
fn not_listed() {
    let mut world = World::new();
    let known = [
        closed(pull_request(1, 1)),
        closed(pull_request(2, 1)),
        closed(pull_request(3, 1)),
    ];
    for known in &known {
        world.observed(10, known);
    }
    world.gone(15, &known[2]);
    world.listed(InventoryScope::Open, 18, &[]);
    assert_eq!(world.found(), SILENT);
    world.listed(InventoryScope::All, 20, &known[..1]);
    assert_eq!(
        world.found(),
        [
            r#"not_listed [2,"not listed from 2026-03-01T12:00:20Z on; landed at 2026-03-01T12:00:10Z",null,"2026-03-01T12:00:20Z"]"#
        ]
    );
    world.confirmed(30, &known[1]);
    assert_eq!(world.found(), SILENT);
}

/// Rules compare 64 numbers at a time before they look at rows.
#[test]
fn no_number_hides_among_its_neighbours() {
    let numbers = [1, 62, 63, 64, 65, 127, 128];
    for wrong in numbers {
        let all = numbers.map(|number| pull_request(number, 1));
        let others: Vec<PullRequest> = all
            .iter()
            .filter(|one| one.number != wrong)
            .cloned()
            .collect();
        let says = |world: &mut World, rule: &str| {
            let found = world.found();
            let begins = format!("{rule} [{wrong},");
            assert!(
                matches!(found.as_slice(), [only] if only.starts_with(&begins)),
                "{begins} {found:?}"
            );
        };
        let mut world = World::new();
        world.listed(InventoryScope::All, 20, &all);
        for one in &others {
            world.observed(10, one);
        }
        says(&mut world, "missing");
        world.observed(10, &closed(pull_request(wrong, 1)));
        says(&mut world, "open_but_closed");
        let mut world = World::new();
        for one in &all {
            world.observed(10, one);
        }
        world.listed(InventoryScope::All, 20, &others);
        says(&mut world, "not_listed");
    }
}

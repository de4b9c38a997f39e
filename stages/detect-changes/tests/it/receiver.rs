//! The receiver: what is right is stored before it is answered, and known when it is repeated; what is
//! not is refused, counted and harmless.

use std::time::Duration;

use crate::common::{Post, Process, SECRET, World, about, answer, noise};
use detect_changes::webhook::{Limits, Secrets};
use prmirror_kit::Metric;
use prmirror_kit::testing::{eventually, eventually_equal, stored};
use prmirror_proto::messages::WebhookDelivery;
use prmirror_proto::subjects::STREAM_WEBHOOKS;
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_stored_and_becomes_a_request() {
    let world = World::new(1).await;
    let process = world.start().await;
    let payload = about(1, "labeled", &world.head(1));
    let post = Post::delivery("pull_request", "d-1", &payload);
    assert_eq!(post.send(process.address).await, (202, "stored".to_owned()));
    let messages = stored(&world.bus, STREAM_WEBHOOKS).await;
    assert_eq!(messages.len(), 1, "stored before it was answered");
    let delivery: WebhookDelivery = messages[0].decode();
    assert_eq!(
        (delivery.delivery.as_str(), delivery.event.as_str()),
        ("d-1", "pull_request")
    );
    assert_eq!(delivery.payload.get(), payload.to_string());
    let request = world.request(1).await;
    assert_eq!(request.basis, "webhook:d-1");
    assert_eq!(request.reason, "pull_request.labeled");
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repetition_is_known_for_as_long_as_the_first_is_kept() {
    let mut world = World::new(1).await;
    let limits = world.pipeline.streams.0.entry(STREAM_WEBHOOKS.to_owned());
    limits.or_default().duplicate_window = Some(Duration::from_millis(100));
    prmirror_kit::ensure_topology(&world.bus, &world.pipeline)
        .await
        .unwrap();
    let process = world.start().await;
    let post = Post::delivery("pull_request", "d-1", &about(1, "labeled", &world.head(1)));
    assert_eq!(post.send(process.address).await.0, 202);
    assert_eq!(post.send(process.address).await, (200, "known".to_owned()));
    world.settled().await;
    // The broker forgets message ids; the subject is what it goes by then. What was sent after the
    // delivery is forgotten after it.
    let jetstream = world.bus.jetstream();
    let probe = async |n: u32| {
        let mut headers = async_nats::HeaderMap::new();
        headers.insert("Nats-Msg-Id", "probe");
        let subject = format!("pr.webhooks.probe.{n}");
        let sent = jetstream
            .publish_with_headers(subject, headers, "{}".into())
            .await;
        sent.unwrap().await.unwrap().duplicate
    };
    assert!(!probe(1).await);
    eventually("the broker has forgotten", || async {
        (!probe(2).await).then_some(())
    })
    .await;
    let before = world.deliveries().await;
    assert_eq!(post.send(process.address).await, (200, "known".to_owned()));
    assert_eq!(world.deliveries().await, before);
    assert_eq!(world.sent().await, 1, "and nothing follows from it");
    let metrics = &process.setup.context.metrics;
    let counted = |outcome| {
        let labels = [("event", "pull_request"), ("outcome", outcome)];
        metrics.value(Metric::Webhooks, &labels)
    };
    assert_eq!((counted("stored"), counted("known")), (1, 2));
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_forms_and_both_secrets_are_taken() {
    let world = World::new(3).await;
    let process = world.start().await;
    let payload = about(2, "edited", &world.head(2)).to_string();
    let encoded: String = form_urlencoded::Serializer::new(String::new())
        .append_pair("payload", &payload)
        .finish();
    let form = Post::delivery("pull_request", "d-form", &json!({}))
        .with("Content-Type", "application/x-www-form-urlencoded")
        .body(encoded.as_bytes());
    assert_eq!(form.send(process.address).await.0, 202);
    let mut rotated = Post::delivery("pull_request", "d-new", &about(3, "edited", &world.head(3)));
    let signature = Secrets::of("new secret").unwrap().sign(&rotated.body);
    rotated = rotated.with("X-Hub-Signature-256", &signature);
    assert_eq!(rotated.send(process.address).await.0, 202);
    let ping = Post::delivery(
        "ping",
        "d-ping",
        &json!({ "zen": "Keep it logically awesome." }),
    );
    assert_eq!(ping.send(process.address).await, (200, "ping".to_owned()));
    world.request(2).await;
    world.request(3).await;
    assert_eq!(world.deliveries().await, 2);
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_counted_and_harmless() {
    let mut world = World::new(1).await;
    world.limits.largest = 100_000;
    let process = world.start().await;
    let good = Post::delivery("pull_request", "d-1", &about(1, "edited", &world.head(1)));
    let forged = Secrets::of("another").unwrap().sign(&good.body);
    let long = "x".repeat(101);
    let mut changed = good.clone();
    changed.body.extend(b" ");
    let mut chunked = good.clone().with("Transfer-Encoding", "chunked");
    chunked.body = [
        b"20000\r\n".to_vec(),
        vec![b' '; 0x20000],
        b"\r\n0\r\n\r\n".to_vec(),
    ]
    .concat();
    let large = Post {
        body: vec![b' '; 100_001],
        ..good.clone()
    };
    let cases = [
        ("unsigned", 401, good.clone().without("X-Hub-Signature-256")),
        (
            "forged",
            401,
            good.clone().with("X-Hub-Signature-256", &forged),
        ),
        (
            "forged",
            401,
            good.clone().with("X-Hub-Signature-256", "sha256="),
        ),
        ("forged", 401, changed),
        // SHA-1, which GitHub still sends beside it, is no signature here.
        (
            "forged",
            401,
            good.clone().with("X-Hub-Signature-256", "sha1=00"),
        ),
        ("no-event", 400, good.clone().without("X-GitHub-Event")),
        (
            "no-event",
            400,
            good.clone().with("X-GitHub-Event", "a.b > *"),
        ),
        (
            "no-delivery",
            400,
            good.clone().without("X-GitHub-Delivery"),
        ),
        (
            "no-delivery",
            400,
            good.clone().with("X-GitHub-Delivery", &long),
        ),
        (
            "content-type",
            415,
            good.clone().with("Content-Type", "text/plain"),
        ),
        ("malformed", 400, good.clone().body(b"{\"action\":")),
        ("malformed", 400, good.clone().body(b"[]")),
        ("malformed", 400, good.clone().body(b"")),
        ("too-large", 413, large),
        ("too-large", 413, strip_length(chunked)),
    ];
    let refused = |reason: &str| {
        let metrics = &process.setup.context.metrics;
        let reason = reason.to_owned();
        metrics.value(Metric::WebhooksRefused, &[("reason", &reason)])
    };
    for (reason, status, post) in cases {
        let before = refused(reason);
        let (found, text) = post.send(process.address).await;
        assert_eq!(found, status, "{reason}: {text}");
        assert_eq!(refused(reason), before + 1, "{reason}");
        assert!(!text.contains(SECRET));
    }
    // Another path is nobody's.
    let elsewhere = Post {
        path: "/".to_owned(),
        ..good.clone()
    };
    assert_eq!(elsewhere.send(process.address).await.0, 404);
    assert_eq!(world.deliveries().await, 0);
    assert_eq!(
        good.send(process.address).await.0,
        202,
        "and the good one is still taken"
    );
    process.running.stop().await.unwrap();
}

/// Waits until so many were refused for a reason: a connection is counted after its end.
async fn refused(process: &Process, reason: &str, times: i64) {
    let metrics = &process.setup.context.metrics;
    eventually_equal(reason, &times, || async {
        metrics.value(Metric::WebhooksRefused, &[("reason", reason)])
    })
    .await;
}

/// A chunked body has no length.
fn strip_length(post: Post) -> Post {
    post.with("Content-Length", "")
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_is_not_waited_for() {
    let mut world = World::new(1).await;
    // A loaded machine may be late with a header that is to arrive.
    world.limits.header = Duration::from_secs(2);
    world.limits.read = Duration::from_millis(300);
    let process = world.start().await;
    let post = Post::delivery("pull_request", "d-1", &about(1, "edited", &world.head(1)));
    // A header that never ends.
    let mut stream = TcpStream::connect(process.address).await.unwrap();
    stream
        .write_all(b"POST /webhooks HTTP/1.1\r\nX-A: 1\r\n")
        .await
        .unwrap();
    let (status, _) = answer(stream).await;
    assert!(matches!(status, 0 | 408), "{status}");
    refused(&process, "slow-header", 1).await;
    // Something else than HTTP.
    let mut stream = TcpStream::connect(process.address).await.unwrap();
    stream
        .write_all(b"\x16\x03\x01 hello\r\n\r\n")
        .await
        .unwrap();
    let (status, _) = answer(stream).await;
    assert!(matches!(status, 0 | 400), "{status}");
    refused(&process, "no-http", 1).await;
    // A body of which a byte comes now and then.
    let mut stream = TcpStream::connect(process.address).await.unwrap();
    stream.write_all(post.head().as_bytes()).await.unwrap();
    let (reading, mut writing) = stream.into_split();
    let drip = tokio::spawn(async move {
        for byte in post.body {
            if writing.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        writing
    });
    let mut reading = tokio::io::BufReader::new(reading);
    let mut line = String::new();
    reading.read_line(&mut line).await.unwrap();
    assert!(line.starts_with("HTTP/1.1 408 "), "{line}");
    drip.abort();
    refused(&process, "too-slow", 1).await;
    assert_eq!(world.deliveries().await, 0);
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_keeps_nobody_else_waiting() {
    let world = World::new(1).await;
    let process = world.start().await;
    let post = Post::delivery("pull_request", "d-1", &about(1, "edited", &world.head(1)));
    let mut held = Vec::new();
    for _ in 0..50 {
        let mut header = TcpStream::connect(process.address).await.unwrap();
        let begun = b"POST /webhooks HTTP/1.1\r\nX-A: 1\r\n";
        header.write_all(begun).await.unwrap();
        let mut body = TcpStream::connect(process.address).await.unwrap();
        body.write_all(post.head().as_bytes()).await.unwrap();
        body.write_all(&post.body[..1]).await.unwrap();
        held.push((header, body));
    }
    assert_eq!(post.send(process.address).await, (202, "stored".to_owned()));
    assert_eq!(world.request(1).await.basis, "webhook:d-1");
    drop(held);
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_largest_payload_of_github_is_taken_and_no_larger_one() {
    let mut world = World::new(1).await;
    assert_eq!(world.limits.largest, 25 << 20);
    // Only its size is to matter, however slow the machine.
    (world.limits.read, world.limits.store) = (Duration::from_secs(60), Duration::from_secs(60));
    let process = world.start().await;
    let largest = world.limits.largest;
    let mut payload = about(1, "edited", &world.head(1));
    payload["noise"] = json!("");
    let mut text = noise(largest);
    text.truncate(largest + 1 - payload.to_string().len());
    payload["noise"] = json!(text);
    let larger = Post::delivery("pull_request", "d-larger", &payload);
    assert_eq!(larger.body.len(), largest + 1);
    // It is refused for its length, and not read.
    let mut stream = TcpStream::connect(process.address).await.unwrap();
    stream.write_all(larger.head().as_bytes()).await.unwrap();
    assert_eq!(answer(stream).await.0, 413);
    text.pop();
    payload["noise"] = json!(text);
    let post = Post::delivery("pull_request", "d-largest", &payload);
    assert_eq!(post.body.len(), largest);
    assert_eq!(post.send(process.address).await, (202, "stored".to_owned()));
    assert_eq!(world.request(1).await.basis, "webhook:d-largest");
    assert_eq!(world.deliveries().await, 1);
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_what_there_is_room_for_the_sender_is_told_to_come_again() {
    let mut world = World::new(1).await;
    world.limits = Limits {
        in_hand: 40_000,
        ..Limits::default()
    };
    let process = world.start().await;
    let large = "x".repeat(30_000);
    let post = Post::delivery("pull_request", "d-1", &json!({ "text": large }));
    let (status, text) = post.send(process.address).await;
    assert_eq!(status, 503, "{text}");
    refused(&process, "busy", 1).await;
    let post = Post::delivery("pull_request", "d-1", &about(1, "edited", &world.head(1)));
    assert_eq!(
        post.send(process.address).await.0,
        202,
        "the room is given back"
    );
    process.running.stop().await.unwrap();
}

/// Sends a head, and waits until the body is asked for: there is room for it then.
async fn announced(process: &Process, post: &Post) -> BufStream<TcpStream> {
    let post = post.clone().with("Expect", "100-continue");
    let mut stream = BufStream::new(TcpStream::connect(process.address).await.unwrap());
    stream.write_all(post.head().as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(line(&mut stream).await, "HTTP/1.1 100 Continue\r\n");
    assert_eq!(line(&mut stream).await, "\r\n");
    stream
}

async fn line(stream: &mut BufStream<TcpStream>) -> String {
    let mut line = String::new();
    let read = tokio::time::timeout(Duration::from_secs(30), stream.read_line(&mut line));
    read.await.expect("an answer").unwrap();
    line
}

/// Nobody knows yet who sends a body that never comes to its end: it keeps no delivery out.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_gives_way_when_there_is_no_room() {
    let mut world = World::new(1).await;
    world.limits = Limits {
        // For two of them.
        in_hand: 40_000,
        patience: Duration::from_millis(50),
        // Nothing else is to end them.
        read: Duration::from_secs(3_600),
        ..Limits::default()
    };
    let process = world.start().await;
    let post = |id| Post::delivery("pull_request", id, &about(1, "edited", &world.head(1)));
    let forged = post("d-forged").with("X-Hub-Signature-256", "sha256=00");
    let mut forged_stream = announced(&process, &forged).await;
    let good = post("d-slow");
    let mut good_stream = announced(&process, &good).await;
    eventually("there is room for a delivery", || async {
        let (status, text) = post("d-1").send(process.address).await;
        assert!(matches!(status, 202 | 503), "{status}: {text}");
        (status == 202).then_some(())
    })
    .await;
    // The one that began first had to go for it,
    forged_stream.write_all(&forged.body[..1]).await.unwrap();
    forged_stream.flush().await.unwrap();
    let answered = line(&mut forged_stream).await;
    assert!(answered.starts_with("HTTP/1.1 408 "), "{answered}");
    refused(&process, "too-slow", 1).await;
    // and no other.
    good_stream.write_all(&good.body).await.unwrap();
    good_stream.flush().await.unwrap();
    let answered = line(&mut good_stream).await;
    assert!(answered.starts_with("HTTP/1.1 202 "), "{answered}");
    assert_eq!(world.deliveries().await, 2);
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_broker_nothing_is_accepted() {
    let mut world = World::new(1).await;
    world.limits.store = Duration::from_secs(1);
    let process = world.start().await;
    let post = Post::delivery("pull_request", "d-1", &about(1, "edited", &world.head(1)));
    world.server.stop().await;
    let (status, text) = post.send(process.address).await;
    assert_eq!(status, 503, "{text}");
    refused(&process, "unstored", 1).await;
    world.server.begin().await;
    eventually("it is taken when the broker is back", || async {
        let (status, _) = post.send(process.address).await;
        // What was refused may have been stored all the same, and is known then.
        matches!(status, 200 | 202).then_some(())
    })
    .await;
    world.request(1).await;
    assert_eq!(world.deliveries().await, 1);
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_larger_than_a_message_may_be_is_stored_beside_it() {
    let world = World::new(1).await;
    let process = world.start().await;
    let mut payload = about(1, "edited", &world.head(1));
    payload["noise"] = json!(noise(2 * world.bus.client().max_payload()));
    let post = Post::delivery("pull_request", "d-1", &payload);
    assert_eq!(post.send(process.address).await, (202, "stored".to_owned()));
    let messages = stored(&world.bus, STREAM_WEBHOOKS).await;
    assert!(messages[0].envelope.body_object.is_some() && messages[0].body.is_empty());
    assert_eq!(world.request(1).await.basis, "webhook:d-1");
    assert_eq!(post.send(process.address).await, (200, "known".to_owned()));
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_so_many_connections_no_more_are_taken() {
    let mut world = World::new(1).await;
    world.limits.connections = 2;
    world.limits.patience = Duration::from_secs(3_600);
    let process = world.start().await;
    let post = Post::delivery("pull_request", "d-1", &about(1, "edited", &world.head(1)));
    let idle = || TcpStream::connect(process.address);
    let held = (idle().await.unwrap(), idle().await.unwrap());
    let (status, _) = post.send(process.address).await;
    assert_eq!(status, 0, "the connection is closed without an answer");
    refused(&process, "connections", 1).await;
    assert_eq!(world.deliveries().await, 0);
    drop(held);
    eventually("there is room again", || async {
        (post.send(process.address).await.0 == 202).then_some(())
    })
    .await;
    process.running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_on_which_nothing_happens_gives_way() {
    let mut world = World::new(1).await;
    world.limits = Limits {
        connections: 2,
        patience: Duration::from_millis(50),
        // Nothing else is to end them.
        header: Duration::from_secs(3_600),
        ..Limits::default()
    };
    let process = world.start().await;
    let idle = || TcpStream::connect(process.address);
    let (first, _second) = (idle().await.unwrap(), idle().await.unwrap());
    let post = Post::delivery("pull_request", "d-1", &about(1, "edited", &world.head(1)));
    eventually("there is a place", || async {
        (post.send(process.address).await.0 == 202).then_some(())
    })
    .await;
    assert_eq!(answer(first).await.0, 0, "it is closed without an answer");
    let metrics = &process.setup.context.metrics;
    eventually("it is counted", || async {
        let closed = metrics.value(Metric::WebhooksRefused, &[("reason", "connections")]);
        (closed > 0).then_some(())
    })
    .await;
    process.running.stop().await.unwrap();
}

/// Proxies keep connections for later.
#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_connection_that_was_kept_is_no_refusal() {
    let mut world = World::new(1).await;
    // A loaded machine may be late with the one that is to arrive.
    world.limits.header = Duration::from_secs(2);
    let process = world.start().await;
    let post = Post::delivery("pull_request", "d-1", &about(1, "edited", &world.head(1)));
    let mut kept = TcpStream::connect(process.address).await.unwrap();
    let head = post.head().replace("Connection: close\r\n", "");
    kept.write_all(head.as_bytes()).await.unwrap();
    kept.write_all(&post.body).await.unwrap();
    // Its end is waited for.
    assert_eq!(answer(kept).await.0, 202);
    // One that brings no request is a refusal.
    let mut slow = TcpStream::connect(process.address).await.unwrap();
    slow.write_all(b"POST /webhooks HTTP/1.1\r\n")
        .await
        .unwrap();
    answer(slow).await;
    let metrics = process.setup.context.metrics.clone();
    process.running.stop().await.unwrap();
    // Everything is counted when the process has ended.
    let counted = metrics.value(Metric::WebhooksRefused, &[("reason", "slow-header")]);
    assert_eq!(counted, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stream_refuses_and_discards_nothing() {
    let mut world = World::new(1).await;
    let limits = world.pipeline.streams.0.entry(STREAM_WEBHOOKS.to_owned());
    limits.or_default().max_bytes = Some(100_000);
    prmirror_kit::ensure_topology(&world.bus, &world.pipeline)
        .await
        .unwrap();
    // Nothing is dealt with yet.
    let long = Duration::from_secs(3_600);
    (
        world.pipeline.webhooks.quiet,
        world.pipeline.webhooks.max_delay,
    ) = (long, long);
    let process = world.start().await;
    let head = world.head(1);
    let delivery = |n: u64| {
        let mut payload = about(1, "edited", &head);
        payload["noise"] = json!(noise(10_000));
        Post::delivery("pull_request", &format!("d-{n}"), &payload)
    };
    let mut taken = 0;
    let refusal = loop {
        let (status, text) = delivery(taken).send(process.address).await;
        if status != 202 {
            break (status, text);
        }
        taken += 1;
        assert!(taken < 100, "it is never full");
    };
    assert_eq!(refusal.0, 503, "{}", refusal.1);
    refused(&process, "unstored", 1).await;
    let held: Vec<String> = stored(&world.bus, STREAM_WEBHOOKS)
        .await
        .into_iter()
        .map(|message| message.subject)
        .collect();
    let all = (0..taken).map(|n| format!("pr.webhooks.pull_request.d-{n}"));
    assert_eq!(held, all.collect::<Vec<_>>(), "nothing had to go");
    let again = delivery(taken).send(process.address).await;
    assert_eq!(again.0, 503, "what nobody has dealt with stays");

    // What is dealt with makes room.
    process.running.stop().await.unwrap();
    world.pipeline.webhooks.quiet = Duration::from_millis(50);
    let process = world.start().await;
    eventually("there is room", || async {
        let (status, _) = delivery(taken).send(process.address).await;
        (status == 202).then_some(())
    })
    .await;
    world.settled().await;
    let request = world.request(1).await;
    assert_eq!(request.basis, format!("webhook:d-{taken}"));
    process.running.stop().await.unwrap();
}

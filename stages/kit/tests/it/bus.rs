//! The connection, the topology, KV buckets and the server's life.

use std::net::TcpListener;
use std::time::Duration;

use crate::common::{finding, outgoing};
use prmirror_kit::config::NatsConfig;
use prmirror_kit::proto::subjects::{
    BUCKET_HEADS, BUCKET_PAGES, BUCKET_WATERMARKS, KV_BUCKETS, STREAM_CHANGES, STREAM_FETCHED,
    STREAM_FINDINGS, STREAM_SUBJECTS,
};
use prmirror_kit::server::{Server, ServerConfig, ServerError, find_program};
use prmirror_kit::testing::{NatsServer, eventually_equal, stored};
use prmirror_kit::{Bus, ConnectError, KvError, Outgoing, Pipeline, PublishError, ensure_topology};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

#[tokio::test]
async fn confirmations_tell_place_and_repetition() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let first = bus.publish(outgoing(&finding(1)), None).await.unwrap();
    let again = bus.publish(outgoing(&finding(1)), None).await.unwrap();
    let next = bus
        .publish(outgoing(&finding(2)).with_cause("a cause"), Some("another"))
        .await
        .unwrap();
    assert_eq!((first.sequence, first.duplicate), (1, false));
    assert_eq!((again.sequence, again.duplicate), (1, true));
    assert_eq!((next.sequence, next.duplicate), (2, false));
    let messages = stored(&bus, STREAM_FINDINGS).await;
    assert_eq!(messages[1].envelope.cause.as_deref(), Some("a cause"));
    let state = bus.stream_state(STREAM_FINDINGS).await.unwrap();
    assert_eq!(
        (state.first_sequence, state.last_sequence, state.messages),
        (1, 2, 2)
    );
    assert!(
        bus.stream_state("NO_SUCH")
            .await
            .unwrap_err()
            .to_string()
            .contains("NO_SUCH")
    );
}

#[tokio::test]
async fn many_are_published_in_order() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let messages: Vec<Outgoing> = (0..3_000).map(|n| outgoing(&finding(n))).collect();
    let ids: Vec<String> = messages.iter().map(|m| m.message_id().to_owned()).collect();
    let receipts = bus.publish_all(messages, Some("a cause")).await.unwrap();
    let sequences: Vec<u64> = receipts.iter().map(|receipt| receipt.sequence).collect();
    assert_eq!(sequences, (1..=3_000).collect::<Vec<u64>>());
    let found = stored(&bus, STREAM_FINDINGS).await;
    let found: Vec<String> = found
        .into_iter()
        .map(|m| m.envelope.message_id.unwrap())
        .collect();
    assert_eq!(found, ids);
}

#[tokio::test]
async fn what_cannot_be_published_says_whether_it_may_later() {
    let mut server = NatsServer::start().await;
    let bus = server.bare_bus().await;
    let error = bus.publish(outgoing(&finding(1)), None).await.unwrap_err();
    assert!(error.is_transient(), "without a stream: {error}");
    ensure_topology(&bus, &Pipeline::default()).await.unwrap();
    let bad = prmirror_kit::proto::Finding {
        // An empty token: no subject.
        rule: String::new(),
        ..finding(1)
    };
    let error = bus.publish(outgoing(&bad), None).await.unwrap_err();
    assert!(matches!(error, PublishError::Refused { .. }), "{error}");
    server.stop().await;
    let error = bus.publish(outgoing(&finding(1)), None).await.unwrap_err();
    assert!(error.is_transient(), "without a server: {error}");
}

#[tokio::test]
async fn the_topology_is_made_once_and_changed_where_it_differs() {
    let server = NatsServer::start().await;
    let bus = server.bare_bus().await;
    // Every stage may do it at the same time.
    let pipeline = Pipeline::default();
    let (a, b, c) = tokio::join!(
        ensure_topology(&bus, &pipeline),
        ensure_topology(&bus, &pipeline),
        ensure_topology(&bus, &pipeline)
    );
    a.and(b).and(c).unwrap();
    bus.publish(outgoing(&finding(1)), None).await.unwrap();
    let js = bus.jetstream();
    for (name, _) in STREAM_SUBJECTS {
        let stream = js.get_stream(name).await.unwrap();
        let config = &stream.cached_info().config;
        let per_subject = if name == STREAM_CHANGES { 1 } else { -1 };
        assert_eq!(config.max_messages_per_subject, per_subject, "{name}");
        assert_eq!(config.duplicate_window, Duration::from_secs(120), "{name}");
    }
    let text = "[streams.PR_FETCHED]\nmax_age = \"2d\"\nmax_bytes = \"1GiB\"\n\
                [streams.prmirror_bodies]\nmax_age = \"2d\"";
    let pipeline = Pipeline::parse(text, "x").unwrap();
    ensure_topology(&bus, &pipeline).await.unwrap();
    for (name, bytes) in [(STREAM_FETCHED, 1 << 30), ("OBJ_prmirror_bodies", -1)] {
        let stream = js.get_stream(name).await.unwrap();
        let config = &stream.cached_info().config;
        assert_eq!(config.max_age, Duration::from_secs(2 * 86_400), "{name}");
        assert_eq!(config.max_bytes, bytes, "{name}");
    }
    assert_eq!(
        stored(&bus, STREAM_FINDINGS).await.len(),
        1,
        "messages stay"
    );
    // A limit that is taken back is gone again.
    ensure_topology(&bus, &Pipeline::default()).await.unwrap();
    let stream = js.get_stream(STREAM_FETCHED).await.unwrap();
    assert_eq!(stream.cached_info().config.max_bytes, -1);
}

#[tokio::test]
async fn heads_are_forgotten_in_the_end_also_by_a_bucket_that_forgot_nothing() {
    const DAY: Duration = Duration::from_secs(86_400);
    let server = NatsServer::start().await;
    let bus = server.bare_bus().await;
    let js = bus.jetstream();
    // As it was made before.
    let old = async_nats::jetstream::kv::Config {
        bucket: BUCKET_HEADS.to_owned(),
        history: 1,
        ..Default::default()
    };
    js.create_key_value(old).await.unwrap();
    let kv = bus.kv(BUCKET_HEADS).await.unwrap();
    kv.put("o.r.abc", &[7]).await.unwrap();
    let ages = async || {
        let mut ages = Vec::new();
        for bucket in KV_BUCKETS {
            let stream = js.get_stream(format!("KV_{bucket}")).await.unwrap();
            ages.push((bucket, stream.cached_info().config.max_age));
        }
        ages.retain(|(_, age)| !age.is_zero());
        ages
    };
    for _ in 0..2 {
        ensure_topology(&bus, &Pipeline::default()).await.unwrap();
        let expected = [(BUCKET_HEADS, 90 * DAY), (BUCKET_PAGES, DAY)];
        assert_eq!(ages().await, expected, "nothing else is forgotten");
    }
    let held = kv.get::<Vec<u64>>("o.r.abc").await.unwrap().unwrap();
    assert_eq!(held.value, [7], "what is young stays");
    // One that is made anew has it from the start.
    js.delete_key_value(BUCKET_HEADS).await.unwrap();
    ensure_topology(&bus, &Pipeline::default()).await.unwrap();
    assert_eq!(ages().await[0], (BUCKET_HEADS, 90 * DAY));
}

#[tokio::test]
async fn kv_values_are_typed_and_compared() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let kv = bus.kv(BUCKET_WATERMARKS).await.unwrap();
    assert_eq!(kv.get::<String>("o.r").await.unwrap(), None);
    let first = kv.create("o.r", &"one").await.unwrap();
    let conflict = kv.create("o.r", &"two").await.unwrap_err();
    assert!(matches!(conflict, KvError::Conflict { .. }), "{conflict}");
    let second = kv.update("o.r", &"two", first).await.unwrap();
    let conflict = kv.update("o.r", &"three", first).await.unwrap_err();
    assert!(matches!(conflict, KvError::Conflict { .. }), "{conflict}");
    let entry = kv.get::<String>("o.r").await.unwrap().unwrap();
    assert_eq!((entry.value.as_str(), entry.revision), ("two", second));
    let other = kv.get::<u64>("o.r").await.unwrap_err();
    assert!(matches!(other, KvError::Value { .. }), "{other}");

    kv.delete("o.r").await.unwrap();
    assert_eq!(kv.get::<String>("o.r").await.unwrap(), None);
    kv.create("o.r", &"again").await.unwrap();
    // What is escaped by `subjects` is a key.
    let large = "x".repeat(100_000);
    kv.put("o.r=2Ed.7", &large).await.unwrap();
    assert_eq!(
        kv.get::<String>("o.r=2Ed.7").await.unwrap().unwrap().value,
        large
    );
    kv.put("p.q", &"else").await.unwrap();
    kv.put("p.gone", &"else").await.unwrap();
    kv.delete("p.gone").await.unwrap();

    let mut keys = kv.keys().await.unwrap();
    keys.sort();
    assert_eq!(keys, ["o.r", "o.r=2Ed.7", "p.q"]);
    let entries = kv.entries::<String>("o.").await.unwrap();
    let found: Vec<&str> = entries.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(found, ["o.r", "o.r=2Ed.7"]);
    assert_eq!(kv.entries::<String>("z").await.unwrap(), []);

    let error = kv.put("no key", &1).await.unwrap_err();
    assert!(error.to_string().contains("no key"), "{error}");
    assert!(bus.kv("nowhere").await.is_err());
}

#[tokio::test]
async fn an_unusable_server_is_refused_in_words() {
    // Nobody there.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("nats://{}", closed.local_addr().unwrap());
    drop(closed);
    let error = Bus::connect(&url, "test").await.err().unwrap();
    assert!(matches!(error, ConnectError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains(&url), "{error}");

    // Too old.
    let url = pretend("2.9.10").await;
    let error = Bus::connect(&url, "test").await.err().unwrap();
    let text = error.to_string();
    assert!(text.contains("2.9.10") && text.contains("2.10"), "{text}");
}

/// A server that only greets, as one of this version does.
async fn pretend(version: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let info = serde_json::json!({
        "server_id": "x", "server_name": "x", "version": version, "go": "go", "host": "127.0.0.1",
        "port": address.port(), "headers": true, "max_payload": 1_048_576, "proto": 1,
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let info = format!("INFO {info}\r\n");
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                stream.write_all(info.as_bytes()).await?;
                let mut line = String::new();
                while stream.read_line(&mut line).await? > 0 {
                    if line.starts_with("PING") {
                        stream.write_all(b"PONG\r\n").await?;
                    }
                    line.clear();
                }
                std::io::Result::Ok(())
            });
        }
    });
    format!("nats://{address}")
}

#[tokio::test]
async fn messages_survive_a_crash_of_the_server() {
    let mut server = NatsServer::start().await;
    let bus = server.bus().await;
    bus.publish(outgoing(&finding(1)), None).await.unwrap();
    server.kill9().await;
    server.begin().await;
    eventually_equal("the message is there", &1, || async {
        stored(&bus, STREAM_FINDINGS).await.len()
    })
    .await;
}

fn config(folder: &std::path::Path) -> ServerConfig {
    let (program, _) = find_program().unwrap();
    ServerConfig::new(program, folder, &NatsConfig::default())
}

#[tokio::test]
async fn a_port_in_use_is_said_in_words() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig {
        port: taken.local_addr().unwrap().port(),
        ..config(folder.path())
    };
    let error = Server::start(&config).await.unwrap_err();
    assert!(
        error.to_string().contains("address already in use"),
        "{error}"
    );
}

#[tokio::test]
async fn a_folder_has_one_server() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let server = Server::start(&config).await.unwrap();
    let second = Server::start(&config).await.unwrap_err();
    assert!(matches!(second, ServerError::Held { .. }), "{second}");
    let first = server.pid().unwrap();
    server.stop().await;
    assert!(!alive(first));
    let server = Server::start(&config).await.unwrap();
    assert!(alive(server.pid().unwrap()));
    server.kill().await;
}

fn alive(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}/cmdline")).exists()
}

#[tokio::test]
async fn a_server_that_was_left_behind_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path());
    let server = Server::start(&config).await.unwrap();
    let left = server.pid().unwrap();
    // As after a kill -9 of the parent: nobody holds the folder, the server still runs.
    let lock = folder.path().join("lock");
    std::fs::remove_file(&lock).unwrap();
    let next = Server::start(&config).await.unwrap();
    assert_ne!(next.pid(), Some(left));
    drop(server);
    next.stop().await;
}

#[tokio::test]
async fn what_is_no_server_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let config = ServerConfig {
        program: "/bin/false".into(),
        ..config(folder.path())
    };
    let error = Server::start(&config).await.unwrap_err();
    assert!(error.to_string().contains("nats-server.log"), "{error}");
    let config = ServerConfig {
        program: "/nowhere/nats-server".into(),
        ..config
    };
    let error = Server::start(&config).await.unwrap_err();
    assert!(
        error.to_string().contains("/nowhere/nats-server"),
        "{error}"
    );
}

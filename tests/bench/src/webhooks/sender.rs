//! Sends deliveries at a fixed rate, on connections that are kept, and times the answers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use detect_changes::webhook::Secrets;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::Instant;

use crate::load::Load;
use crate::stage::SECRET;

/// How long an answer is waited for: as long as GitHub does.
const PATIENCE: Duration = Duration::from_secs(10);

/// What became of the deliveries.
#[derive(Default)]
pub(crate) struct Sent {
    pub(crate) stored: u64,
    pub(crate) known: u64,
    pub(crate) refused: u64,
    pub(crate) failed: u64,
    /// From when each was due to its answer.
    times: Vec<Duration>,
    took: Duration,
}

impl Sent {
    fn add(&mut self, other: Self) {
        self.stored += other.stored;
        self.known += other.known;
        self.refused += other.refused;
        self.failed += other.failed;
        self.times.extend(other.times);
    }

    /// Deliveries answered a second.
    pub(crate) fn rate(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64().max(0.001)
    }

    /// Milliseconds within which so many in a hundred were answered.
    pub(crate) fn percentile(&self, percent: f64) -> u128 {
        let last = self.times.len().saturating_sub(1) as f64;
        let place = (last * percent / 100.0).round() as usize;
        self.times.get(place).map_or(0, Duration::as_millis)
    }

    /// How many took longer.
    pub(crate) fn over(&self, bound: Duration) -> usize {
        self.times.iter().filter(|time| **time > bound).count()
    }
}

/// Sends everything.
pub(crate) async fn send(
    load: &Load,
    address: SocketAddr,
    connections: usize,
) -> anyhow::Result<Sent> {
    let secrets = Secrets::of(SECRET).context("a secret")?;
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let senders = (0..connections.max(1)).map(|_| sender(load, address, &secrets, &next, begun));
    let mut sent = Sent::default();
    for one in futures::future::join_all(senders).await {
        sent.add(one);
    }
    sent.took = begun.elapsed();
    sent.times.sort_unstable();
    Ok(sent)
}

async fn sender(
    load: &Load,
    address: SocketAddr,
    secrets: &Secrets,
    next: &AtomicU64,
    begun: Instant,
) -> Sent {
    let mut sent = Sent::default();
    let mut connection: Option<Connection> = None;
    loop {
        let place = next.fetch_add(1, Ordering::SeqCst);
        if place >= load.deliveries() {
            return sent;
        }
        let delivery = load.delivery(place);
        let signature = secrets.sign(&delivery.body);
        let due = begun + Duration::from_secs_f64(place as f64 / load.rate as f64);
        tokio::time::sleep_until(due).await;
        let mut request = format!(
            "POST /webhooks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nX-GitHub-Event: {}\r\nX-GitHub-Delivery: {}\r\n\
             X-Hub-Signature-256: {signature}\r\n\r\n",
            delivery.body.len(),
            delivery.event,
            delivery.id,
        )
        .into_bytes();
        request.extend(delivery.body);
        let answer = tokio::time::timeout(PATIENCE, async {
            let open = match connection.take() {
                Some(open) => open,
                None => Connection::open(address).await?,
            };
            open.exchange(&request).await
        });
        match answer.await {
            Ok(Ok((status, open))) => {
                connection = Some(open);
                sent.times.push(due.elapsed());
                match status {
                    202 => sent.stored += 1,
                    200 => sent.known += 1,
                    _ => sent.refused += 1,
                }
            }
            Ok(Err(_)) | Err(_) => sent.failed += 1,
        }
    }
}

struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

impl Connection {
    async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (reader, writer) = stream.into_split();
        Ok(Self {
            reader: BufReader::new(reader),
            writer,
        })
    }

    /// Sends a request and reads its answer; the connection can be used again.
    async fn exchange(mut self, request: &[u8]) -> anyhow::Result<(u16, Self)> {
        self.writer.write_all(request).await?;
        let mut line = String::new();
        self.reader.read_line(&mut line).await?;
        let status = line.split(' ').nth(1).context("no answer")?.parse()?;
        let mut length = 0_u64;
        loop {
            line.clear();
            self.reader.read_line(&mut line).await?;
            let Some((name, value)) = line.trim_end().split_once(':') else {
                break;
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse()?;
            }
        }
        let mut body = Vec::new();
        (&mut self.reader)
            .take(length)
            .read_to_end(&mut body)
            .await?;
        Ok((status, self))
    }
}

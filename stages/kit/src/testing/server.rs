//! A nats-server of a test's own.

use tempfile::TempDir;

use crate::bus::Bus;
use crate::command::{LogFormat, init_logging};
use crate::config::{NatsConfig, Pipeline};
use crate::server::{Server, ServerConfig, find_program};
use crate::topology::ensure_topology;

/// A nats-server with its own port and store; killed when dropped.
pub struct NatsServer {
    server: Option<Server>,
    config: ServerConfig,
    folder: TempDir,
}

impl NatsServer {
    /// A server with an empty store on a free port.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// The same with other settings.
    pub async fn start_with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        // The log is of interest to who asks for it.
        if std::env::var_os("RUST_LOG").is_some() {
            init_logging(LogFormat::Human, "");
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (program, _) = find_program().unwrap_or_else(|error| panic!("{error}"));
        let mut config = ServerConfig::new(program, folder.path(), &NatsConfig::default());
        change(&mut config);
        let mut this = Self {
            server: None,
            config,
            folder,
        };
        this.begin().await;
        this
    }

    /// Starts it again after [`NatsServer::kill9`] or [`NatsServer::stop`]: same store, same port.
    pub async fn begin(&mut self) {
        let server = Server::start(&self.config).await;
        let server = server.unwrap_or_else(|error| panic!("{error}"));
        self.config.port = server.port();
        self.server = Some(server);
    }

    /// Stops it in good order.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    /// Ends it as a crash would.
    pub async fn kill9(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill().await;
        }
    }

    /// Stops it and starts it again: same store, same port.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.begin().await;
    }

    /// Where it is, or was before it was stopped.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.config.port)
    }

    /// Its folder: store, configuration, log.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// A connection to it, with every stream and bucket in place.
    pub async fn bus(&self) -> Bus {
        let bus = self.bare_bus().await;
        let made = ensure_topology(&bus, &Pipeline::default()).await;
        made.unwrap_or_else(|error| panic!("{error}"));
        bus
    }

    /// A connection to it as it is.
    pub async fn bare_bus(&self) -> Bus {
        let bus = Bus::connect(&self.url(), "test").await;
        bus.unwrap_or_else(|error| panic!("{error}"))
    }
}

//! The broker of a deployment, without the stages.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::deployment::Deployment;
use crate::programs::nats_server;
use crate::wait::eventually;

/// A nats-server on the store of a deployment whose `up` has ended; killed when dropped.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    url: String,
}

impl Broker {
    /// Starts it.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn of(deployment: &Deployment) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let config = deployment.path().join("broker.conf");
        let store = deployment.data().join("nats/store");
        assert!(store.is_dir(), "{}", store.display());
        let text = format!(
            "listen: \"{address}\"\nmax_payload: 8388608\njetstream {{ store_dir: {store:?} }}\n"
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new(nats_server())
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let this = Self {
            child,
            url: format!("nats://{address}"),
        };
        eventually("the broker answers", Duration::from_secs(20), || {
            TcpStream::connect(address).ok()
        });
        this
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! A stage's way to GitHub: configuration, token, and the records of what it costs.

use std::env::VarError;

use prmirror_kit::{Outgoing, Setup};

use crate::client::{Client, ClientConfig, ClientConfigError};
use crate::token::Token;

/// Environment variable that names the API, as in GitHub Actions; wins over `github.api_url`.
pub const API_URL_VARIABLE: &str = "GITHUB_API_URL";

/// Cost records published at once.
const COSTS_AT_ONCE: usize = 64;

/// Why a stage cannot talk to GitHub.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no token in the environment.
    #[error(
        "no GitHub token: set the environment variable {0} (a classic token needs no scope for \
         public repositories, a fine-grained one needs read access to pull requests)"
    )]
    NoToken(String),
    /// What is there cannot be a token.
    #[error("the environment variable {0} holds no token: it must be one word of ASCII characters")]
    BadToken(String),
    /// The client cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientConfigError),
}

/// The token in the environment variable of this name.
///
/// # Errors
/// When there is none, or something that cannot be one.
pub fn token_from_environment(variable: &str) -> Result<Token, ConnectError> {
    match std::env::var(variable) {
        Ok(text) if text.trim().is_empty() => Err(ConnectError::NoToken(variable.to_owned())),
        Ok(text) => Token::new(&text).ok_or_else(|| ConnectError::BadToken(variable.to_owned())),
        Err(VarError::NotPresent) => Err(ConnectError::NoToken(variable.to_owned())),
        Err(VarError::NotUnicode(_)) => Err(ConnectError::BadToken(variable.to_owned())),
    }
}

/// A client as the deployment says, whose costs go to `pr.costs`.
///
/// # Errors
/// When there is no token, or the configuration cannot work.
pub fn connect(setup: &Setup, stage: &'static str) -> Result<Client, ConnectError> {
    let config = &setup.pipeline.github;
    let token = token_from_environment(&config.token_env)?;
    let api_url = std::env::var(API_URL_VARIABLE)
        .ok()
        .filter(|url| !url.is_empty())
        .unwrap_or_else(|| config.api_url.clone());
    let (client, mut costs) = Client::new(ClientConfig {
        api_url,
        token,
        timeout: config.timeout,
        max_in_flight: config.max_in_flight as usize,
        user_agent: config.user_agent.clone(),
        stage,
        floor: config.floor,
    })?;
    let bus = setup.bus.clone();
    let shutdown = setup.shutdown.clone();
    setup.spawn("cost records", async move {
        let mut records = Vec::with_capacity(COSTS_AT_ONCE);
        loop {
            tokio::select! {
                biased;
                received = costs.recv_many(&mut records, COSTS_AT_ONCE) => {
                    if received == 0 {
                        return Ok::<(), String>(());
                    }
                }
                () = shutdown.cancelled() => return Ok(()),
            }
            let outgoing = records
                .drain(..)
                .filter_map(|r| Outgoing::new(&r).ok())
                .collect();
            // Statistics: losing some is no reason to stop, and the broker's absence is logged
            // by everything else.
            if let Err(error) = bus.publish_all(outgoing, None).await {
                tracing::debug!(%error, "cost records were not published");
            }
        }
    });
    Ok(client)
}

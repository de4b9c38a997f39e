//! A stage's way to GitHub: configuration, tokens, the shared budget, and the records of what it costs.

use std::env::VarError;
use std::path::PathBuf;

use prmirror_kit::config::{AppConfig, GithubConfig};
use prmirror_kit::{Outgoing, Setup};

use crate::app::{App, AppKeyError, Installation};
use crate::client::{Access, Client, ClientConfigError};
use crate::credential::Credential;
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
    #[error(
        "the environment variable {0} holds no token: it must be one word of ASCII characters, or \
         several with commas between them"
    )]
    BadToken(String),
    /// The private key of the App cannot be read.
    #[error("github.app.private_key_file: cannot read {}: {source}", path.display())]
    NoKeyFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no private key in the environment.
    #[error(
        "no private key for the GitHub App: write github.app.private_key_file, or set the \
         environment variable {0} to the key"
    )]
    NoKey(String),
    /// What is there is no private key.
    #[error("the private key of the GitHub App cannot be used: {0}")]
    BadKey(#[from] AppKeyError),
    /// The client cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientConfigError),
}

/// The tokens in the environment variable of this name: at least one.
fn tokens_from_environment(variable: &str) -> Result<Vec<Token>, ConnectError> {
    match std::env::var(variable) {
        Ok(text) if text.trim().is_empty() => Err(ConnectError::NoToken(variable.to_owned())),
        Ok(text) => {
            Token::several(&text).ok_or_else(|| ConnectError::BadToken(variable.to_owned()))
        }
        Err(VarError::NotPresent) => Err(ConnectError::NoToken(variable.to_owned())),
        Err(VarError::NotUnicode(_)) => Err(ConnectError::BadToken(variable.to_owned())),
    }
}

/// All that the deployment gives to ask GitHub with: at least one.
///
/// # Errors
/// When there is neither a token nor an App, or one of them cannot be used.
pub fn credentials(config: &GithubConfig) -> Result<Vec<Credential>, ConnectError> {
    let installations = match &config.app {
        Some(app) => installations(app)?,
        None => Vec::new(),
    };
    let tokens = match tokens_from_environment(&config.token_env) {
        Ok(tokens) => tokens,
        // The App will do.
        Err(ConnectError::NoToken(_)) if !installations.is_empty() => Vec::new(),
        Err(error) => return Err(error),
    };
    let tokens = tokens.into_iter().map(Credential::Token);
    Ok(tokens.chain(installations).collect())
}

fn installations(config: &AppConfig) -> Result<Vec<Credential>, ConnectError> {
    let key = match &config.private_key_file {
        Some(path) => std::fs::read(path).map_err(|source| ConnectError::NoKeyFile {
            path: path.clone(),
            source,
        })?,
        None => {
            let variable = &config.private_key_env;
            let key = std::env::var(variable).unwrap_or_default();
            if key.trim().is_empty() {
                return Err(ConnectError::NoKey(variable.clone()));
            }
            // Where a variable cannot have several lines, they are written so.
            key.replace("\\n", "\n").into_bytes()
        }
    };
    let app = App::new(&config.id, &key)?;
    let installation = |id| Credential::Installation(Installation::new(app.clone(), id));
    Ok(match config.installations.as_slice() {
        [] => vec![installation(None)],
        ids => ids.iter().map(|id| installation(Some(*id))).collect(),
    })
}

/// A client as the deployment says, whose budget is shared over the broker, and whose costs go to
/// `pr.costs`.
///
/// # Errors
/// When there is no token, or the configuration cannot work.
pub fn connect(setup: &Setup, stage: &'static str) -> Result<Client, ConnectError> {
    let config = &setup.pipeline.github;
    let credentials = credentials(config)?;
    let api_url = std::env::var(API_URL_VARIABLE)
        .ok()
        .filter(|url| !url.is_empty())
        .unwrap_or_else(|| config.api_url.clone());
    let (client, mut costs) = Client::new(Access {
        api_url,
        credentials,
        bus: Some(setup.bus.clone()),
        timeout: config.timeout,
        max_in_flight: config.max_in_flight as usize,
        user_agent: config.user_agent.clone(),
        stage,
        floor: config.floor,
        realtime_reserve: config.realtime_reserve,
        requests_per_minute: config.requests_per_minute,
        window: Access::WINDOW,
        lease: Access::LEASE,
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

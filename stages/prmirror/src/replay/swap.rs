//! A database that was made takes the place of the live one.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use prmirror_proto::requests::{SUBJECT_SWAP, SwapAnswer, SwapRequest};

use crate::arguments::{Place, Unusable};
use crate::ask::{ask_patiently, connect};

/// Handing over what only the live database has takes time, where that is much.
const PATIENCE: Duration = Duration::from_secs(900);

/// Asks publish to take a file in the place of its database.
pub(crate) async fn swap(place: &Place, file: &Path) -> anyhow::Result<()> {
    let absolute = file
        .canonicalize()
        .map_err(|error| Unusable(format!("{}: {error}", file.display())))?;
    let text = absolute.to_str();
    let text = text.ok_or_else(|| Unusable(format!("{}: no UTF-8", file.display())))?;
    let bus = connect(place).await?;
    let question = serde_json::to_vec(&SwapRequest {
        file: text.to_owned(),
    })?;
    let answer: SwapAnswer = ask_patiently(&bus, "publish", SUBJECT_SWAP, question, PATIENCE)
        .await
        .context("the live database stays")?;
    eprintln!(
        "{} is the live database now; the one before is {}",
        file.display(),
        answer.previous
    );
    Ok(())
}

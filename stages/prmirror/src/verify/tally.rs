//! What a verification comes to: counts, the truth rate, and the words for it.

use std::fmt::Write as _;

use prmirror_proto::{RepositoryName, Verification};
use serde::Serialize;

/// How one pull request came out.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(super) enum Outcome {
    /// As GitHub says, or not: the differences tell.
    Verified(Verification),
    /// It changed at every look.
    Unsettled {
        repository: RepositoryName,
        number: u64,
    },
    /// It could not be read.
    Unreadable {
        repository: RepositoryName,
        number: u64,
        reason: String,
    },
}

/// The result of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Tally {
    /// Identity of the run.
    pub(super) run: String,
    /// Pull requests that there were to choose from.
    pub(super) population: u64,
    /// Pull requests that were chosen.
    pub(super) chosen: u64,
    /// Pull requests that were compared.
    pub(super) verified: u64,
    /// Those that are as GitHub says.
    pub(super) right: u64,
    /// Fields that were compared.
    pub(super) fields: u64,
    /// Pull requests that were chosen besides: they were found wrong once and are repaired, and wait to
    /// be seen right. None of them is of the sample, so none counts in what is said of it.
    pub(super) besides: u64,
    /// Those of them that are as GitHub says.
    pub(super) confirmed: u64,
    /// Points of GitHub's rate limit that it cost.
    pub(super) points: u64,
    /// Whether it was interrupted.
    pub(super) interrupted: bool,
    /// What is not right, or not known to be.
    pub(super) notes: Vec<Outcome>,
}

/// Lines about differences that people are shown.
const SHOWN: usize = 50;

impl Tally {
    pub(super) fn add(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Verified(verification) => {
                let is_right = verification.differences.is_empty();
                if verification.run == self.run {
                    self.verified += 1;
                    self.fields += verification.fields;
                    self.right += u64::from(is_right);
                } else {
                    self.confirmed += u64::from(is_right);
                }
                if !is_right {
                    self.notes.push(Outcome::Verified(verification));
                }
            }
            other @ (Outcome::Unsettled { .. } | Outcome::Unreadable { .. }) => {
                self.notes.push(other);
            }
        }
    }

    /// Pull requests with an outcome.
    pub(super) fn done(&self) -> u64 {
        self.right + self.confirmed + self.notes.len() as u64
    }

    /// Pull requests that are looked at.
    pub(super) const fn all(&self) -> u64 {
        self.chosen + self.besides
    }

    pub(super) const fn wrong(&self) -> u64 {
        self.verified - self.right
    }

    fn fields_wrong(&self) -> usize {
        self.notes
            .iter()
            .map(|note| match note {
                Outcome::Verified(verification) if verification.run == self.run => {
                    verification.differences.len()
                }
                Outcome::Verified(_) | Outcome::Unsettled { .. } | Outcome::Unreadable { .. } => 0,
            })
            .sum()
    }

    /// Whether everything that was chosen is known to be as GitHub says.
    pub(super) fn is_true(&self) -> bool {
        self.notes.is_empty() && !self.interrupted
    }

    /// The share of what was verified that is right, and where that of all would be with 95 %
    /// probability; none when nothing was verified.
    pub(super) fn rate(&self) -> Option<(f64, (f64, f64))> {
        let rate = self.right as f64 / self.verified as f64;
        (self.verified > 0).then(|| (rate, wilson(self.right, self.verified)))
    }

    /// As JSON.
    pub(super) fn json(&self) -> serde_json::Result<serde_json::Value> {
        let mut value = serde_json::to_value(self)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("wrong".into(), self.wrong().into());
            object.insert("fields_wrong".into(), self.fields_wrong().into());
            if let Some((rate, (low, high))) = self.rate() {
                object.insert("truth_rate".into(), rate.into());
                object.insert("interval".into(), vec![low, high].into());
            }
        }
        Ok(value)
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text never fails.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, f: &mut String) -> std::fmt::Result {
        let mut lines = 0;
        let mut hidden = 0;
        for note in &self.notes {
            match note {
                Outcome::Verified(verification) => {
                    for difference in &verification.differences {
                        if lines >= SHOWN {
                            hidden += 1;
                            continue;
                        }
                        lines += 1;
                        let none = "nothing".to_owned();
                        let column = difference.column.as_ref();
                        writeln!(
                            f,
                            "{}#{} {}{}{}: landed {}, GitHub says {}",
                            verification.repository,
                            verification.number,
                            difference.table,
                            if difference.key.is_empty() {
                                String::new()
                            } else {
                                format!(" {}", difference.key)
                            },
                            column.map_or_else(String::new, |column| format!(" {column}")),
                            difference.landed.as_ref().unwrap_or(&none),
                            difference.github.as_ref().unwrap_or(&none),
                        )?;
                    }
                }
                Outcome::Unsettled { repository, number } => {
                    writeln!(f, "{repository}#{number} changed at every look")?;
                }
                Outcome::Unreadable {
                    repository,
                    number,
                    reason,
                } => writeln!(f, "{repository}#{number} could not be read: {reason}")?,
            }
        }
        if hidden > 0 {
            writeln!(f, "… and {hidden} differences more; --json has all of them")?;
        }
        writeln!(
            f,
            "{} of {} pull requests were compared, {} fields: {} are as GitHub says, {} are not \
             ({} differences); {} points",
            self.verified,
            self.population,
            self.fields,
            self.right,
            self.wrong(),
            self.fields_wrong(),
            self.points
        )?;
        if let Some((rate, (low, high))) = self.rate() {
            let percent = |share: f64| share * 100.0;
            writeln!(
                f,
                "truth rate {:.2} % (95 % interval {:.2} to {:.2} %)",
                percent(rate),
                percent(low),
                percent(high)
            )?;
        }
        if self.besides > 0 {
            writeln!(
                f,
                "{} that had been found wrong were looked at besides: {} are as GitHub says now",
                self.besides, self.confirmed
            )?;
        }
        if self.interrupted {
            writeln!(f, "interrupted after {} of {}", self.done(), self.all())?;
        }
        Ok(())
    }
}

/// Wilson's 95 % interval of a share: it holds for small samples and for shares near 1, where the
/// usual one would end beyond it. E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
fn wilson(right: u64, of: u64) -> (f64, f64) {
    const Z: f64 = 1.959_963_984_540_054;
    if of == 0 {
        return (0.0, 1.0);
    }
    let n = of as f64;
    let share = right as f64 / n;
    let spread = Z * Z / n;
    let centre = share + spread / 2.0;
    let half = Z * (share * (1.0 - share) / n + spread / (4.0 * n)).sqrt();
    let low = (centre - half) / (1.0 + spread);
    let high = (centre + half) / (1.0 + spread);
    (low.max(0.0), high.min(1.0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use prmirror_proto::FieldDifference;

    #[test]
    fn what_is_looked_at_besides_says_nothing_of_the_sample() {
        let verified = |run: &str, number, is_right: bool| {
            let difference = FieldDifference {
                table: "pull_requests".to_owned(),
                key: String::new(),
                column: Some("title".to_owned()),
                landed: None,
                github: None,
            };
            Outcome::Verified(Verification {
                run: run.to_owned(),
                repository: RepositoryName::new("o", "r").unwrap(),
                number,
                node_id: None,
                observed_at: Timestamp::UNIX_EPOCH,
                version: None,
                fields: 40,
                differences: if is_right {
                    Vec::new()
                } else {
                    vec![difference]
                },
            })
        };
        let mut tally = Tally {
            run: "one".to_owned(),
            population: 10,
            chosen: 2,
            besides: 2,
            ..Tally::default()
        };
        for outcome in [
            verified("one", 1, true),
            verified("one", 2, true),
            verified("besides", 3, true),
            verified("besides", 4, false),
        ] {
            tally.add(outcome);
        }
        assert_eq!((tally.verified, tally.right, tally.fields), (2, 2, 80));
        assert_eq!((tally.wrong(), tally.fields_wrong()), (0, 0));
        assert_eq!(tally.rate().map(|(rate, _)| rate), Some(1.0));
        assert_eq!((tally.confirmed, tally.done(), tally.all()), (1, 4, 4));
        // It is told nevertheless.
        assert!(!tally.is_true());
        assert!(tally.text().contains("o/r#4 pull_requests title"));
    }

    #[test]
    fn the_interval_is_wilsons() {
        // Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 3.
        for (right, of, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0000, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let (l, h) = wilson(right, of);
            assert!((l - low).abs() < 5e-5, "{right} of {of}: {l}");
            assert!((h - high).abs() < 5e-5, "{right} of {of}: {h}");
        }
        assert_eq!(wilson(0, 0), (0.0, 1.0));
        let (low, high) = wilson(100, 100);
        assert!(
            (0.963..0.964).contains(&low) && high > 0.999_999,
            "{low} {high}"
        );
    }
}

//! What a person sees while the mirror works.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use tokio::time::Instant;

use crate::summary::View;

/// How often a line is printed where nothing can be overwritten.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The same while nothing changes.
const SAME_EVERY: Duration = Duration::from_secs(60);

/// One line that is kept up to date on a terminal, and printed now and then elsewhere.
pub(crate) struct Progress {
    terminal: bool,
    drawn: bool,
    printed: Option<(Instant, String)>,
    began: Instant,
    /// What was seen last, and since when it has been so.
    seen: Option<(String, Instant)>,
    /// When the first landing was seen, and how many there were: for the ETA.
    first: Option<(Instant, u64)>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            terminal: std::io::stderr().is_terminal(),
            drawn: false,
            printed: None,
            began: Instant::now(),
            seen: None,
            first: None,
        }
    }

    /// How long nothing has moved although it could have.
    pub(crate) fn idle_for(&self) -> Duration {
        self.seen
            .as_ref()
            .map_or(self.began.elapsed(), |(_, since)| since.elapsed())
    }

    /// The stages do not answer yet.
    pub(crate) fn waiting(&mut self) {
        self.draw("starting …");
    }

    /// Shows the state.
    pub(crate) fn show(&mut self, view: &View) {
        let mark = view.mark();
        let moved = self.seen.as_ref().is_none_or(|(seen, _)| *seen != mark);
        if moved || view.is_rate_limited() {
            self.seen = Some((mark, Instant::now()));
        }
        let line = format!("{}{}", view.line(), self.eta(view));
        self.draw(&line);
    }

    fn eta(&mut self, view: &View) -> String {
        let (landed, wanted) = view.landed_of();
        let (since, then) = *self.first.get_or_insert((Instant::now(), landed));
        let (gained, elapsed) = (landed.saturating_sub(then), since.elapsed());
        let left = wanted.saturating_sub(landed);
        if gained == 0 || left == 0 || view.is_rate_limited() {
            return String::new();
        }
        let seconds = elapsed.as_secs_f64() * left as f64 / gained as f64;
        format!(" · about {:.0} s to go", seconds.max(1.0))
    }

    fn draw(&mut self, line: &str) {
        if self.terminal {
            // Erase the line, write it anew; what does not fit is cut by the terminal's own width.
            eprint!("\r\x1b[2K{line}");
            let _ = std::io::stderr().flush();
            self.drawn = true;
        } else {
            let every = match &self.printed {
                Some((_, printed)) if printed == line => SAME_EVERY,
                Some(_) | None => LINE_EVERY,
            };
            let due = |(at, _): &(Instant, String)| at.elapsed() >= every;
            if self.printed.as_ref().is_none_or(due) {
                eprintln!("{line}");
                self.printed = Some((Instant::now(), line.to_owned()));
            }
        }
    }

    /// Says something that stays.
    pub(crate) fn say(&mut self, text: &str) {
        self.finish();
        eprintln!("{text}");
    }

    /// Ends the line.
    pub(crate) fn finish(&mut self) {
        if self.drawn {
            eprintln!();
            self.drawn = false;
        }
    }
}

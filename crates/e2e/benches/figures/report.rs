//! What was measured, for people and for programs.

use serde_json::{Value, json};

use crate::support::say;

/// All figures of a run.
#[derive(Default)]
pub struct Report {
    lines: Vec<Line>,
}

struct Line {
    what: &'static str,
    figure: f64,
    unit: &'static str,
    target: Option<Target>,
    detail: String,
}

/// What a figure is held against.
#[derive(Clone, Copy)]
pub enum Target {
    /// So much at most.
    Most(f64),
    /// So much at least.
    Least(f64),
}

impl Report {
    /// Adds a figure and says it at once. `detail` says what it was measured against, and how.
    pub fn add(
        &mut self,
        what: &'static str,
        figure: f64,
        unit: &'static str,
        target: Option<Target>,
        detail: String,
    ) {
        let line = Line {
            what,
            figure,
            unit,
            target,
            detail,
        };
        say(&line.text());
        self.lines.push(line);
    }

    /// Says that something was not measured, and why.
    pub fn absent(&self, what: &str, why: &str) {
        say(&format!("{what}: not measured: {why}"));
    }

    /// All of it as JSON, on stdout.
    #[expect(clippy::print_stdout, reason = "this is what the program is run for")]
    pub fn print(&self) {
        let lines: Vec<Value> = self.lines.iter().map(Line::json).collect();
        let text = serde_json::to_string_pretty(&json!({ "figures": lines }));
        println!("{}", text.expect("JSON"));
    }
}

impl Line {
    fn met(&self) -> Option<bool> {
        self.target.map(|target| match target {
            Target::Most(most) => self.figure <= most,
            Target::Least(least) => self.figure >= least,
        })
    }

    fn text(&self) -> String {
        let held = match self.target {
            None => String::new(),
            Some(Target::Most(most)) => format!(" (at most {most} {})", self.unit),
            Some(Target::Least(least)) => format!(" (at least {least} {})", self.unit),
        };
        let met = match self.met() {
            None => "     ",
            Some(true) => "met  ",
            Some(false) => "MISSED",
        };
        let Self {
            what,
            figure,
            unit,
            detail,
            ..
        } = self;
        format!("{met} {what}: {figure:.2} {unit}{held}; {detail}")
    }

    fn json(&self) -> Value {
        let (most, least) = match self.target {
            Some(Target::Most(most)) => (Some(most), None),
            Some(Target::Least(least)) => (None, Some(least)),
            None => (None, None),
        };
        json!({
            "what": self.what, "figure": self.figure, "unit": self.unit,
            "at_most": most, "at_least": least, "met": self.met(), "detail": self.detail,
        })
    }
}

/// The value below which this part of them lies; sorts them.
pub fn quantile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = (values.len() as f64 * part) as usize;
    values[at.min(values.len() - 1)]
}

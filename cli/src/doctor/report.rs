//! The results of checks, as text and as a document.

use serde_json::{Value, json};

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// As it should be.
    Ok,
    /// It works, but can fail later or elsewhere.
    Warn,
    /// It does not work.
    Fail,
    /// Not checked.
    Skip,
}

impl Status {
    /// Returns the name in the document.
    pub fn as_str(self) -> &'static str {
        match self {
            Status::Ok => "ok",
            Status::Warn => "warn",
            Status::Fail => "fail",
            Status::Skip => "skip",
        }
    }
}

/// One check.
#[derive(Clone, Debug)]
pub struct Check {
    /// The stable name.
    pub id: &'static str,
    /// The result.
    pub status: Status,
    /// One line.
    pub summary: String,
    /// Further lines about what was found.
    pub detail: Vec<String>,
    /// What to do, line by line.
    pub fix: Vec<String>,
}

impl Check {
    /// Creates a check.
    pub fn new(id: &'static str, status: Status, summary: impl Into<String>) -> Check {
        Check { id, status, summary: summary.into(), detail: Vec::new(), fix: Vec::new() }
    }

    /// Creates a check that is ok.
    pub fn ok(id: &'static str, summary: impl Into<String>) -> Check {
        Check::new(id, Status::Ok, summary)
    }

    /// Creates a check that failed.
    pub fn fail(id: &'static str, summary: impl Into<String>) -> Check {
        Check::new(id, Status::Fail, summary)
    }

    /// Creates a check that was not made.
    pub fn skip(id: &'static str, why: impl Into<String>) -> Check {
        Check::new(id, Status::Skip, why)
    }

    /// Adds what was found.
    #[must_use]
    pub fn found(mut self, line: impl Into<String>) -> Check {
        self.detail.extend(line.into().lines().map(str::to_owned));
        self
    }

    /// Adds what to do.
    #[must_use]
    pub fn do_this(mut self, line: impl Into<String>) -> Check {
        self.fix.extend(line.into().lines().map(str::to_owned));
        self
    }

    /// Adds a warning with what to do. A failed check remains failed.
    pub fn warn(&mut self, found: impl Into<String>, fix: impl Into<String>) {
        if self.status == Status::Ok {
            self.status = Status::Warn;
        }
        self.detail.push(found.into());
        self.fix.push(fix.into());
    }

    fn document(&self) -> Value {
        let lines = |lines: &[String]| (!lines.is_empty()).then(|| lines.join("\n"));
        json!({
            "id": self.id,
            "status": self.status.as_str(),
            "summary": self.summary,
            "detail": lines(&self.detail),
            "fix": lines(&self.fix),
        })
    }
}

/// Returns the document of `--json`.
pub fn document(checks: &[Check]) -> Value {
    json!({ "checks": checks.iter().map(Check::document).collect::<Vec<_>>() })
}

/// Returns the text: a line for each check, with what was found and what to do below it. Skipped checks share a line.
pub fn text(checks: &[Check]) -> String {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(line.trim_end());
        text.push('\n');
    };
    for check in checks.iter().filter(|check| check.status != Status::Skip) {
        let word = if check.status == Status::Fail { "FAIL" } else { check.status.as_str() };
        line(format!("{word:<6}{:<14}{}", check.id, check.summary));
        for below in check.detail.iter().chain(&check.fix) {
            line(format!("      {below}"));
        }
    }
    let skipped: Vec<&str> = of(checks, Status::Skip).map(|check| check.id).collect();
    if !skipped.is_empty() {
        line(format!("skip  {}", skipped.join(", ")));
    }
    let (failed, warned) = (of(checks, Status::Fail).count(), of(checks, Status::Warn).count());
    let made = checks.len() - skipped.len();
    let warnings = match warned {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        many => format!(", {many} warnings"),
    };
    line(format!("{failed} of {made} checks failed{warnings}"));
    text.trim_end().to_owned()
}

fn of(checks: &[Check], status: Status) -> impl Iterator<Item = &Check> {
    checks.iter().filter(move |check| check.status == status)
}

/// Returns whether a check has this result.
pub fn has(checks: &[Check], status: Status) -> bool {
    of(checks, status).next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_shows_what_was_found_and_what_to_do() {
        let mut clock = Check::ok("clock", "within 1 s");
        clock.warn("found", "fix");
        let checks = [
            clock,
            Check::fail("login", "role_missing").found("one\ntwo").do_this("three"),
            Check::skip("label", "not logged in"),
            Check::skip("grants", "not logged in"),
        ];
        assert_eq!(
            text(&checks),
            "warn  clock         within 1 s\n      found\n      fix\nFAIL  login         role_missing\n      one\n      two\n      \
             three\nskip  label, grants\n1 of 2 checks failed, 1 warning"
        );
        let document = document(&checks);
        assert_eq!(document["checks"][1]["status"], "fail");
        assert_eq!(document["checks"][1]["detail"], "one\ntwo");
        assert_eq!(document["checks"][2]["fix"], Value::Null);
        assert!(has(&checks, Status::Warn) && !has(&checks[2..], Status::Fail));
    }
}

//! Parses the output of developers' command-line tools: the cause of a failure among warnings and tracebacks, the
//! commands that they name, and the JSON object among other lines.

use serde_json::{Map, Value};

use crate::credential::{developer_tools::process::Output, sanitize};

/// The maximum number of objects that are searched for in a tool's output.
const MAX_OBJECTS: usize = 1000;

/// The maximum length of a command that is repeated in a message.
const MAX_COMMAND: usize = 600;

/// The parsed error text of a tool.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::credential) struct Complaint {
    /// The error itself, without the surrounding text.
    pub(in crate::credential) cause: String,
    /// Everything except warnings and tracebacks. It includes the tool's own commands.
    pub(in crate::credential) rest: String,
    /// The tool's own advice, if it is marked as such.
    pub(in crate::credential) suggestion: Option<String>,
}

impl Complaint {
    /// Reads the cause from the tool's error output. If that does not contain one, it is read from the standard output,
    /// if that is plain text.
    pub(in crate::credential) fn of(output: &Output) -> Complaint {
        // Lines of JSON are meant for programs. A caller that parses them has already used their contents.
        let plain = |text: &str| {
            let lines = text.lines().filter(|line| serde_json::from_str::<Map<String, Value>>(line.trim()).is_err());
            Complaint::read(&lines.collect::<Vec<_>>().join("\n"))
        };
        let complaint = plain(&output.stderr);
        if !complaint.cause.is_empty() {
            return complaint;
        }
        let other = plain(&output.stdout);
        let is_words = !other.cause.contains(['{', '}']) && sanitize::words(&other.cause).is_some();
        if is_words { other } else { complaint }
    }

    /// Reads the lines that a tool printed. A line that begins with `ERROR:` is the error, unless it only announces a
    /// traceback. Without such a line, the error is the first line that is not a warning, then the last exception of
    /// the traceback.
    pub(in crate::credential) fn read(text: &str) -> Complaint {
        let text = &without_colours(text);
        let mut said: Vec<&str> = Vec::new();
        let mut rest: Vec<&str> = Vec::new();
        let (mut exception, mut warning) = (None, None);
        let (mut in_traceback, mut in_warning) = (false, false);
        let (mut is_marked, mut is_complete) = (false, false);
        for line in text.lines() {
            let is_indented = line.starts_with([' ', '\t']);
            let words = line.trim();
            if words.is_empty() {
                // This is the end of a paragraph.
                if !said.is_empty() && !is_complete {
                    said.push("");
                }
                continue;
            }
            if words.ends_with("Traceback (most recent call last):") {
                (in_traceback, in_warning) = (true, false);
                is_complete = !said.is_empty();
                continue;
            }
            if in_traceback && is_indented {
                continue;
            }
            if std::mem::take(&mut in_traceback) {
                exception = Some(words);
                continue;
            }
            // Python prints the line of code below a warning.
            if in_warning && is_indented {
                continue;
            }
            in_warning = is_warning(words);
            if in_warning {
                warning = Some(words);
                continue;
            }
            if joins_exceptions(words) {
                continue;
            }
            let (marked, words) = without_marks(words);
            let words = without_heading(words);
            if words.is_empty() {
                continue;
            }
            rest.push(words);
            if is_complete {
                continue;
            }
            if is_instruction(words) || is_command(words) {
                is_complete = !said.is_empty();
                continue;
            }
            if marked && !is_marked {
                // Text before the first error is not part of it.
                said.clear();
                is_marked = true;
            }
            said.push(words);
        }
        let cause = match said.is_empty() {
            false => said.join("\n").trim_end().to_owned(),
            true => exception.or(rest.first().copied()).or(warning).map_or("", |line| without_marks(line).1).to_owned(),
        };
        Complaint { cause: without_retries(cause), rest: rest.join("\n"), suggestion: None }
    }

    /// Returns the commands that the tool's text recommends, each beginning with one of `names`. Of similar commands,
    /// the most detailed one is returned.
    pub(in crate::credential) fn commands(&self, names: &[&str]) -> Vec<String> {
        let found = commands(&self.rest, names);
        match &self.suggestion {
            Some(suggestion) if found.is_empty() => commands(suggestion, names),
            _ => found,
        }
    }
}

/// Returns whether the line is a note next to the error: of the tool, of the Python that runs it, or about a new
/// release.
fn is_warning(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    let is_level = ["warning:", "warn:", "info:", "debug:", "notice:"].iter().any(|level| lower.starts_with(level));
    let is_notice = ["update(s) available", "is in preview", "release is available", "version is available"]
        .iter()
        .any(|words| lower.contains(words))
        && !lower.starts_with("error");
    // The form is `/path/to/file.py:12: SyntaxWarning: ...`, or the same without the path.
    let is_of_python = line.split_once("Warning: ").is_some_and(|(before, _)| {
        let (place, class) = before.rsplit_once(' ').unwrap_or(("", before));
        let line_number = place.strip_suffix(':').and_then(|place| place.rsplit_once(':')).map(|(_, number)| number);
        class.chars().all(|c| c.is_ascii_alphanumeric())
            && (place.is_empty() || line_number.is_some_and(|number| number.parse::<u32>().is_ok()))
    });
    is_level || is_notice || is_of_python
}

/// Returns whether the line joins two exceptions of a traceback.
fn joins_exceptions(line: &str) -> bool {
    line.starts_with("During handling of the above exception")
        || line.starts_with("The above exception was the direct cause")
}

/// Returns whether the line, below the error, states what to do or where to report.
fn is_instruction(line: &str) -> bool {
    const STARTS: [&str; 9] = [
        "interactive authentication is needed",
        "to re-authenticate",
        "please explicitly log in with",
        "run the command below",
        "to open an issue",
        "to check existing issues",
        "if the problem persists",
        "please report",
        "if you want to contact",
    ];
    let lower = line.to_ascii_lowercase();
    STARTS.iter().any(|start| lower.starts_with(start)) || lower.ends_with("please run:")
}

/// Returns whether the line is only a command with its options, which a tool prints below its advice.
fn is_command(line: &str) -> bool {
    let (names, has_options) = match line.split_once(" -") {
        Some((names, _)) => (names, true),
        None => (line, false),
    };
    let is_tool = names.starts_with("az ") || names.starts_with("azd ");
    let is_short = names.split_whitespace().count() <= 3;
    is_tool && is_short && (has_options || names.ends_with(" login") || names.ends_with(" logout"))
}

/// Returns the line without its error marker, and whether it had one.
fn without_marks(line: &str) -> (bool, &str) {
    let mut words = line;
    let mut is_marked = false;
    loop {
        let lower = words.to_ascii_lowercase();
        // `az : ERROR:` is how PowerShell prints the tool's error; the long markers are names of loggers and classes.
        let mark = ["error:", "az :", "azd :", "cliinternalerror:", "cli.azure.cli.core.azclierror:", "warning:"]
            .iter()
            .find(|mark| lower.starts_with(**mark));
        match mark {
            Some(mark) => {
                is_marked |= *mark != "warning:";
                words = words[mark.len()..].trim_start();
            }
            None => return (is_marked, words),
        }
    }
}

/// Returns the text after the announcement of a traceback.
fn without_heading(line: &str) -> &str {
    const HEADING: &str = "the command failed with an unexpected error";
    match line.to_ascii_lowercase().starts_with(HEADING) {
        true => {
            let behind = &line[HEADING.len()..];
            behind.split_once("traceback:").map_or(behind, |(_, behind)| behind).trim_matches([' ', '.'])
        }
        false => line,
    }
}

/// Removes a long address that Python's HTTP library prints between the host and the reason, and that would use up the
/// length limit.
fn without_retries(cause: String) -> String {
    const START: &str = "Max retries exceeded with url:";
    const END: &str = "(Caused by ";
    match (cause.find(START), cause.find(END)) {
        (Some(start), Some(end)) if start < end => {
            let reason = &cause[end + END.len()..];
            let reason = reason.trim_end().strip_suffix(')').unwrap_or(reason);
            format!("{}{reason}", &cause[..start])
        }
        _ => cause,
    }
}

fn commands(text: &str, names: &[&str]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut add = |command: &str| {
        let shown = sanitize::mask(command, &[]);
        let shown: String = shown.chars().filter(|c| !c.is_control()).collect();
        let shown = shown.trim().trim_end_matches('.').to_owned();
        if shown.len() <= MAX_COMMAND && !found.contains(&shown) {
            found.push(shown);
        }
    };
    for line in text.lines().map(str::trim) {
        // A separate line, or the end of a line after a colon: only the name, or the name with options.
        let whole = |text: &str| {
            names.iter().any(|name| {
                text.strip_prefix(name).is_some_and(|behind| {
                    let options = behind.trim_start();
                    options.is_empty() || options.starts_with('-') && behind.starts_with(' ')
                })
            })
        };
        let after_colon = line.match_indices(": ").map(|(at, colon)| &line[at + colon.len()..]);
        let alone = std::iter::once(line).chain(after_colon).find(|text| whole(text));
        if let Some(command) = alone {
            add(command);
            continue;
        }
        for quote in ['`', '\'', '"'] {
            let mut rest = line;
            while let Some((_, quoted)) = rest.split_once(quote) {
                if names.iter().any(|name| quoted.starts_with(name))
                    && let Some((command, behind)) = quoted.split_once(quote)
                {
                    add(command);
                    rest = behind;
                } else {
                    rest = quoted;
                }
            }
        }
    }
    let all = found.clone();
    found.retain(|command| {
        !all.iter().any(|other| other.strip_prefix(command.as_str()).is_some_and(|more| more.starts_with(' ')))
    });
    found
}

/// Returns the last complete JSON object in a tool's output that has this member. Extensions, updates and warnings
/// print their own lines around it, which can contain braces.
pub(in crate::credential) fn last_object(text: &str, member: &str) -> Option<Map<String, Value>> {
    let mut last = None;
    let mut at = 0;
    for _ in 0..MAX_OBJECTS {
        let Some(found) = text[at..].find('{') else { break };
        at += found;
        let mut objects = serde_json::Deserializer::from_str(&text[at..]).into_iter::<Map<String, Value>>();
        match objects.next() {
            Some(Ok(object)) => {
                at += objects.byte_offset().max(1);
                if object.contains_key(member) {
                    last = Some(object);
                }
            }
            _ => at += 1,
        }
    }
    last
}

/// Returns the text without the sequences that colour it on a terminal.
pub(in crate::credential) fn without_colours(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        rest = after.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
        rest = rest.get(1..).unwrap_or_default();
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(text: &str) -> String {
        Complaint::read(text).cause
    }

    #[test]
    fn tool_text_finds_the_cause_among_warnings_and_tracebacks() {
        let cases = [
            ("", ""),
            ("ERROR: No such thing.\n", "No such thing."),
            ("WARNING: You have 2 update(s) available.\nERROR: No such thing.", "No such thing."),
            ("You have 2 update(s) available. Consider 'az upgrade'\nNo such thing.", "No such thing."),
            (
                "/opt/az/lib/x.py:12: SyntaxWarning: invalid escape sequence '\\s'\n  re.compile('\\s')\nERROR: No.",
                "No.",
            ),
            ("UserWarning: old\n  warnings.warn(\nERROR: No.", "No."),
            (
                "ERROR: The command failed with an unexpected error. Here is the traceback:\nERROR: 407\n\
                 Traceback (most recent call last):\n  File \"x\"\n    y()\nx.Error: 407\n\n\
                 During handling of the above exception, another exception occurred:\n\n\
                 Traceback (most recent call last):\n  File \"x\"\nz.Error: no\nTo open an issue, please run: 'az feedback'",
                "407",
            ),
            (
                "The command failed with an unexpected error. Here is the traceback:\n\nTraceback (most recent call last):\n  \
                 File \"x\"\nValueError: no",
                "ValueError: no",
            ),
            ("ERROR: The command failed with an unexpected error. Here is the traceback:\nno", "no"),
            (
                "CLIInternalError: The command failed with an unexpected error. Here is the traceback: [WinError 87]",
                "[WinError 87]",
            ),
            ("noise\nERROR: first\nsecond", "first\nsecond"),
            ("WARNING: only this", "only this"),
            ("\nERROR: one\n\ntwo\n\n", "one\n\ntwo"),
            (
                "ERROR: cli.azure.cli.core.azclierror: AADSTS50076: You must.\nInteractive authentication is needed. Please run:\naz login",
                "AADSTS50076: You must.",
            ),
            (
                "ERROR: HTTPSConnectionPool(host='h', port=443): Max retries exceeded with url: /a/b (Caused by \
                 ProxyError('no', OSError('407')))",
                "HTTPSConnectionPool(host='h', port=443): ProxyError('no', OSError('407'))",
            ),
            // Only the traceback names the cause; the tool prints its own command below it.
            (
                "ERROR: The command failed with an unexpected error. Here is the traceback:\nTraceback (most recent call last):\n  \
                 File \"x\"\nmsal.Error: AADSTS70043: Expired.\naz login --scope s/.default",
                "msal.Error: AADSTS70043: Expired.",
            ),
            ("ERROR: AADSTS70043: Expired.\naz logout\naz login --scope s", "AADSTS70043: Expired."),
            ("az logout\naz login\nERROR: AADSTS70043: Expired.", "AADSTS70043: Expired."),
            ("ERROR: az login --scope s", "az login --scope s"),
            ("ERROR: az login is what you need", "az login is what you need"),
            ("az account show failed for --subscription", "az account show failed for --subscription"),
            ("ERROR: The Warning: is no warning", "The Warning: is no warning"),
        ];
        for (text, expected) in cases {
            assert_eq!(cause(text), expected, "{text:?}");
        }
    }

    #[test]
    fn tool_text_finds_the_repair_command() {
        let names = ["az login", "az logout", "az account set"];
        let cases: &[(&str, &[&str])] = &[
            ("", &[]),
            ("Please run 'az login' to setup account.", &["az login"]),
            ("Run `az login`. Or `az account set`.", &["az login", "az account set"]),
            (
                "Please run:\naz login --tenant \"t\" --scope \"s/.default\"",
                &["az login --tenant \"t\" --scope \"s/.default\""],
            ),
            ("Run:\naz logout\naz login --tenant t", &["az logout", "az login --tenant t"]),
            ("Run 'az login' or\naz login --tenant t", &["az login --tenant t"]),
            ("az login is what you need", &[]),
            ("AADSTS1: No. Please run: az login --scope s", &["az login --scope s"]),
            ("no: az login is what you need: az logout", &["az logout"]),
            ("az loginx", &[]),
            ("it's 'az feedback'", &[]),
            ("Run 'az login --scope \"x\"' now", &["az login --scope \"x\""]),
            ("Run 'az login", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(commands(text, &names), *expected, "{text:?}");
        }
    }

    #[test]
    fn tool_text_returns_the_last_object_with_the_member() {
        let token = |text: &str| last_object(text, "t").and_then(|object| object["t"].as_i64());
        let cases = [
            ("", None),
            ("{}", None),
            ("}{", None),
            ("{\"t\":1}", Some(1)),
            ("WARNING: {x} and {\n{\"t\":1}\n{\"u\":2} {", Some(1)),
            ("{\"t\":1}{\"t\":2}", Some(2)),
            ("note\n{\n  \"t\": 1,\n  \"u\": {\"t\": 3}\n}\n}", Some(1)),
            ("é{é{\"t\":1}é", Some(1)),
            ("{\"t\":1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(token(text), expected, "{text:?}");
        }
        assert_eq!(token(&"{".repeat(300_000)), None);
        assert_eq!(token(&"{\"a\":[".repeat(50_000)), None);
    }

    #[test]
    fn tool_text_removes_colours() {
        assert_eq!(without_colours("\u{1b}[31;1mred\u{1b}[0m"), "red");
        assert_eq!(without_colours("\u{1b}[ü"), "");
    }

    proptest::proptest! {
        /// Reads any output without a panic, and shows only a short text without secrets.
        #[test]
        fn tool_text_reads_any_text(parts in proptest::collection::vec(proptest::sample::select(PARTS), 0..40)) {
            let text = parts.concat();
            let complaint = Complaint::read(&text);
            let commands = complaint.commands(&["az login", "azd auth login"]);
            let shown = sanitize::sentence(&complaint.cause, &[]).unwrap_or_default();
            let masked = sanitize::mask(&text, &[]);
            for shown in commands.iter().map(String::as_str).chain([&*shown, &*masked]) {
                assert!(!shown.contains("c2lnbmF0dXJl"), "{shown:?}");
            }
            assert!(shown.chars().count() <= 301 && !shown.contains(['\n', '\u{1b}']), "{shown:?}");
            let _ = last_object(&text, "accessToken");
            let _ = sanitize::words(&text);
        }
    }

    const PARTS: &[&str] = &[
        "\n",
        "\r\n",
        " ",
        "  ",
        ". ",
        ":",
        "'",
        "`",
        "\"",
        "{",
        "}",
        "\\",
        "=",
        "ERROR: ",
        "WARNING: ",
        "é",
        "\u{1b}[31m",
        "x",
        "Traceback (most recent call last):\n",
        "The command failed with an unexpected error",
        "Here is the traceback:",
        "Max retries exceeded with url:",
        "(Caused by ",
        "az login",
        "azd auth login --scope s",
        "AADSTS",
        "50076",
        "Trace ID:",
        "/home/",
        "C:\\Users\\",
        "password=",
        "Bearer ",
        "access_token",
        "eyJhbGciOiJub25lIn0.eyJhIjoxfQ.c2lnbmF0dXJl",
        "{\"accessToken\":",
        "file.py:1: UserWarning: ",
    ];
}

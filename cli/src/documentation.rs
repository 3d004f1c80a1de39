//! The tables of options in `docs/commands/`, generated from the command line itself.
//!
//! `PGENTRA_GENERATE=1 cargo test -p pgentra-cli documentation` writes them.

use std::{fmt::Write as _, path::PathBuf};

use clap::{Arg, ArgAction, Command};

/// What is around a table in a page.
const BEGIN: &str = "<!-- options, generated from the command line -->\n";
const END: &str = "<!-- end of options -->\n";
/// The headings whose options are the same for several commands, and the page that has them.
const SHARED: [&str; 3] = ["Connection", "Credential", "Output"];
const SHARED_PAGE: &str = "../cli.md";
/// The command with options of its own below the heading `Connection`.
const OWN_CONNECTION: &str = "proxy";

#[test]
fn documentation_has_every_option() {
    let root = crate::args::command();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/commands");
    let mut different = Vec::new();
    let mut check = |page: String, text: String| {
        let path = folder.join(page);
        let old = std::fs::read_to_string(&path).unwrap_or_default();
        let Some((before, rest)) = old.split_once(BEGIN) else {
            different.push(format!("{}: no line {BEGIN}", path.display()));
            return;
        };
        let (table, after) = rest.split_once(END).expect("the end of the options");
        if table != text && std::env::var_os("PGENTRA_GENERATE").is_some() {
            std::fs::write(&path, format!("{before}{BEGIN}{text}{END}{after}")).expect("a writable page");
        } else if table != text {
            different.push(format!("{}: set PGENTRA_GENERATE=1 and run this test", path.display()));
        }
    };
    for command in root.get_subcommands().filter(|command| !is_left_out(command)) {
        check(format!("{}.md", command.get_name()), tables(command, |heading| is_own(command, heading)));
    }
    let token = root.find_subcommand("token").expect("a command with all shared options");
    check(SHARED_PAGE.to_owned(), tables(token, |heading| SHARED.contains(&heading)));
    assert!(different.is_empty(), "{different:#?}");
}

fn is_left_out(command: &Command) -> bool {
    command.is_hide_set() || matches!(command.get_name(), "completions" | "help")
}

fn is_own(command: &Command, heading: &str) -> bool {
    !SHARED.contains(&heading) || (heading == "Connection" && command.get_name() == OWN_CONNECTION)
}

/// The tables of a command, one for each heading.
fn tables(command: &Command, is_wanted: impl Fn(&str) -> bool) -> String {
    let mut headings: Vec<&str> = Vec::new();
    let options = command.get_arguments().filter(|argument| argument.get_long().is_some_and(|name| name != "help"));
    let options: Vec<&Arg> = options.filter(|argument| !argument.is_hide_set()).collect();
    for argument in &options {
        let heading = argument.get_help_heading().unwrap_or_default();
        if is_wanted(heading) && !headings.contains(&heading) {
            headings.push(heading);
        }
    }
    let mut text = String::new();
    for heading in headings {
        let title = if heading.is_empty() { String::new() } else { format!("### {heading}\n\n") };
        let _ = write!(text, "\n{title}| option | value | default | meaning |\n| --- | --- | --- | --- |\n");
        for argument in options.iter().filter(|argument| argument.get_help_heading().unwrap_or_default() == heading) {
            let _ = writeln!(text, "{}", row(argument));
        }
    }
    if text.is_empty() { "\nThe command has no options of its own.\n\n".to_owned() } else { text + "\n" }
}

fn row(argument: &Arg) -> String {
    let short = argument.get_short().map(|short| format!("`-{short}`, ")).unwrap_or_default();
    let long = argument.get_long().unwrap_or_default();
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    // Defaults that clap cannot express are at the end of the help.
    let (help, described) = match help.rsplit_once(" [default: ") {
        Some((help, rest)) => (help.to_owned(), rest.trim_end_matches(']').to_owned()),
        None => (help, String::new()),
    };
    let takes_value = !matches!(argument.get_action(), ArgAction::SetTrue | ArgAction::Count);
    let default = argument.get_default_values().iter().map(|value| format!("`{}`", value.to_string_lossy()));
    let default = match (default.collect::<Vec<_>>().join(", "), described) {
        (_, described) if !described.is_empty() => described,
        (stated, _) if takes_value && !stated.is_empty() => stated,
        _ if takes_value => String::new(),
        _ => "off".to_owned(),
    };
    let names = argument.get_possible_values();
    let value = if !takes_value {
        String::new()
    } else if names.is_empty() || names.iter().any(|name| name.is_hide_set()) {
        let name = argument.get_value_names().and_then(|names| names.first()).map(ToString::to_string);
        format!("`{}`", name.unwrap_or_default())
    } else {
        names.iter().map(|name| format!("`{}`", name.get_name())).collect::<Vec<_>>().join(", ")
    };
    let meanings = names.iter().filter(|_| takes_value).filter_map(|name| {
        let meaning = name.get_help()?.to_string();
        Some(format!("`{}`: {}", name.get_name(), meaning.trim_end_matches('.')))
    });
    let meanings = meanings.collect::<Vec<_>>().join("; ");
    let meaning = if meanings.is_empty() { help } else { format!("{help}. {meanings}") };
    let cells = [format!("{short}`--{long}`"), value, default, meaning].map(|cell| cell.replace('|', "\\|"));
    format!("| {} |", cells.join(" | ")).replace("  ", " ")
}

#[test]
fn documentation_commands_are_valid() {
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut pages = vec![repository.join("README.md"), repository.join("cli/README.md")];
    for folder in ["docs", "docs/commands", "docs/recipes"] {
        let entries = std::fs::read_dir(repository.join(folder)).into_iter().flatten();
        pages.extend(
            entries.map(|entry| entry.expect("an entry").path()).filter(|path| path.extension() == Some("md".as_ref())),
        );
    }
    let (mut count, mut invalid) = (0, Vec::new());
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("a page");
        for block in text.split("\n```sh\n").skip(1) {
            let block = block.split("\n```").next().unwrap_or_default().replace("\\\n", " ");
            for words in block.lines().map(words).filter(|words| words.first().is_some_and(|word| word == "pgentra")) {
                count += 1;
                if let Err(error) = crate::args::command().try_get_matches_from(&words) {
                    invalid.push(format!("{}: {words:?}: {error}", page.display()));
                }
            }
        }
    }
    assert!(invalid.is_empty(), "{invalid:#?}");
    assert!(count > 15, "{count} commands");
}

/// The words of a command of a shell: up to a pipe, a redirection, a background job or a comment; without quotes.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.trim().chars() {
        match (quote, c) {
            (Some(mark), _) if mark == c => quote = None,
            (None, '\'' | '"') => {
                word.get_or_insert_default();
                quote = Some(c);
            }
            (None, ' ') => words.extend(word.take()),
            (None, '#') if word.is_none() => break,
            (None, '|' | '&' | '>' | ';') => break,
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

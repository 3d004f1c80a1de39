//! The file of `--config`: the engine's document, and a table for each command that runs for a long time.

use std::path::Path;

use pgentra::Config;
use serde_json::{Map, Value};

use crate::failure::{Failure, Result};

/// The commands that can have a table with their options.
pub const TABLES: [&str; 3] = ["agent", "proxy", "serve"];

/// The contents of a configuration file.
#[derive(Clone, Debug, Default)]
pub struct ConfigFile {
    /// The engine's document.
    pub document: Map<String, Value>,
    /// The tables of commands, by their names.
    pub tables: Map<String, Value>,
}

/// Reads a file: TOML, or JSON if its name ends in `.json`.
///
/// # Errors
/// Fails if the file cannot be read, or with the name of a key that is unknown or has the wrong type.
pub fn load(path: &Path) -> Result<ConfigFile> {
    let what = format!("configuration file {}", path.display());
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{what} cannot be read: {error}"), "Correct --config."))?;
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    // The errors of the readers quote the line, which can contain a secret.
    let document = if is_json {
        serde_json::from_str(&text).map_err(|error| format!("line {}, column {}", error.line(), error.column()))
    } else {
        toml::from_str(&text).map_err(|error| match error.span() {
            Some(span) => format!("line {}", text[..span.start.min(text.len())].lines().count().max(1)),
            None => error.message().to_owned(),
        })
    };
    let form = if is_json { "JSON" } else { "TOML" };
    let document: Map<String, Value> = document
        .map_err(|place| Failure::usage(format!("{what} is not a {form} document ({place})"), "Correct the file."))?;
    split(document).map_err(|failure| failure.about(&what))
}

fn split(mut document: Map<String, Value>) -> Result<ConfigFile> {
    let mut tables = Map::new();
    for name in TABLES {
        match document.remove(name) {
            None => {}
            Some(table @ Value::Object(_)) => drop(tables.insert(name.to_owned(), table)),
            Some(_) => {
                return Err(Failure::usage(format!("option `{name}`: expected a table"), "Correct this option."));
            }
        }
    }
    Config::from_value(Value::Object(document.clone()))?;
    Ok(ConfigFile { document, tables })
}

/// Returns the texts of an option's value in a command's table.
pub fn texts(name: &str, value: &Value) -> Result<Vec<String>> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(Failure::usage(
            format!("option `{name}`: expected a text, a number, a boolean or a list of these"),
            "Correct this option.",
        )),
    };
    match value {
        Value::Array(items) => items.iter().map(one).collect(),
        value => Ok(vec![one(value)?]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, text: &str) -> Result<ConfigFile> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        load(&path)
    }

    #[test]
    fn config_file_has_the_same_keys_in_toml_and_json() {
        let toml = "scope = \"s\"\n[credential]\ntype = \"azure_cli\"\n[serve]\nlisten = \"127.0.0.1:1\"\n";
        let json = r#"{"scope": "s", "credential": {"type": "azure_cli"}, "serve": {"listen": "127.0.0.1:1"}}"#;
        for (name, text) in [("a.toml", toml), ("a.json", json), ("a.JSON", json)] {
            let file = file(name, text).expect("readable");
            assert_eq!(file.document["credential"]["type"], "azure_cli");
            assert_eq!(file.tables["serve"]["listen"], "127.0.0.1:1");
        }
    }

    #[test]
    fn config_file_with_a_wrong_key_names_it_and_no_value() {
        for (name, text, expected) in [
            ("a.toml", "scop = \"canary\"", "scop"),
            ("a.toml", "[credential]\ntype = \"azure_cli\"\nclient_secret = \"canary\"", "client_secret"),
            ("a.toml", "serve = \"canary\"", "serve"),
            ("a.toml", "timeout = \"canary\"", "timeout"),
            ("a.toml", "scope = canary", "line 1"),
            ("a.json", "{\"scope\": canary}", "line 1, column"),
        ] {
            let failure = file(name, text).expect_err("refused");
            assert!(failure.headline().contains(expected), "{failure}");
            assert!(!failure.to_string().contains("canary"), "{failure}");
            assert_eq!(failure.exit as u8, 2);
        }
    }
}

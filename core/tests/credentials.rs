//! Runs `tests/vectors/credentials/*.json` and `tests/vectors/entra-errors.json`, and watches what is logged meanwhile.

use std::sync::Mutex;

use pgentra_vectors::{credentials, folder};
use serde_json::Value;

/// Stands in every secret and token of the vectors; no event may show it.
const CANARY: &str = "canary";

/// Every event of the engine so far.
fn logged() -> &'static Mutex<Vec<String>> {
    static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());
    static SINK: std::sync::Once = std::sync::Once::new();
    SINK.call_once(|| {
        let is_set = pgentra::bindings::set_log_sink(|event| {
            LINES.lock().unwrap().push(format!("{} {} {}", event.level.as_str(), event.target, event.message));
        });
        assert!(is_set);
    });
    &LINES
}

fn check_log(name: &Value) {
    let lines = logged().lock().unwrap();
    if let Some(line) = lines.iter().find(|line| line.to_ascii_lowercase().contains(CANARY)) {
        panic!("{name}: logs a secret: {line}");
    }
}

fn cases(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join(format!("{file}.json"))).unwrap();
    let Value::Object(file) = serde_json::from_str(&text).unwrap() else { panic!("{file} is no object") };
    assert!(file.keys().all(|key| ["about", "cases"].contains(&key.as_str())), "{:?}", file.keys());
    let cases = file["cases"].as_array().unwrap().clone();
    assert!(!cases.is_empty());
    cases
}

fn run_file(name: &str) {
    logged();
    for case in cases(&format!("credentials/{name}")) {
        let directory = tempfile::tempdir().unwrap();
        let text = case.to_string().replace("{dir}", &directory.path().display().to_string());
        credentials::check(&text, &credentials::fetch(&text, directory.path()));
        check_log(&case["name"]);
    }
    assert!(!logged().lock().unwrap().is_empty(), "{name}: nothing is logged at all");
}

macro_rules! files {
    ($($name:ident)+) => {
        $(#[test] fn $name() { run_file(stringify!($name)); })+

        #[test]
        fn credential_vectors_of_every_file_are_run() {
            let mut files: Vec<String> = std::fs::read_dir(folder().join("credentials"))
                .unwrap()
                .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
                .collect();
            files.sort();
            assert_eq!(files, [$(stringify!($name)),+]);
        }
    };
}

files! {
    azure_cli azure_developer_cli azure_pipelines azure_powershell chained client_assertion client_certificate
    client_secret default environment managed_identity managed_identity_azure_arc managed_identity_azure_ml
    managed_identity_cloud_shell managed_identity_service_fabric on_behalf_of
    static_token workload_identity
}

#[test]
fn entra_errors() {
    logged();
    for case in cases("entra-errors") {
        credentials::check_refusal(&case.to_string(), &credentials::refuse(&case.to_string()));
        check_log(&case["name"]);
    }
}

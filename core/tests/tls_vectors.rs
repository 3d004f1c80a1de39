//! `tests/vectors/tls.json` against `connection::secure_sslmode`.

use pgentra::connection::secure_sslmode;
use serde_json::{Value, json};

#[test]
fn every_case() {
    let vectors: Value = serde_json::from_str(include_str!("../../tests/vectors/tls.json")).expect("JSON");
    let cases = vectors["cases"].as_array().expect("cases");
    assert!(cases.len() > 20);
    for case in cases {
        let hosts: Vec<&str> = case["hosts"].as_array().expect("hosts").iter().filter_map(Value::as_str).collect();
        let allow = case["allow_insecure"].as_bool().unwrap_or(false);
        let result = match secure_sslmode(case["sslmode"].as_str(), &hosts, allow) {
            Ok(mode) => json!(mode),
            Err(error) => json!({"error": error.code()}),
        };
        assert_eq!(result, case["result"], "{}", case["name"]);
    }
}

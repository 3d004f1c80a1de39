//! Clouds, scopes and authority hosts by `tests/vectors/clouds.json`.

use pgentra::bindings::cloud::{self, Cloud, CloudError};
use pgentra_vectors::documents::{cloud_inputs, resolved as written};
use serde_json::{Value, json};

fn cases(group: &str) -> Vec<Value> {
    let vectors: Value =
        serde_json::from_str(include_str!("../../tests/vectors/clouds.json")).expect("clouds.json is JSON");
    let cases = vectors[group].as_array().expect("a list of cases").clone();
    assert!(!cases.is_empty(), "{group} is empty");
    cases
}

#[test]
fn cloud_vectors() {
    for case in cases("cases") {
        let name = &case["name"];
        match (cloud::resolve(&cloud_inputs(&case)), case.get("error")) {
            (Ok(resolved), None) => {
                let expect = &case["expect"];
                let mut read = written(&resolved);
                read["warning"] = expect["warning"].clone();
                assert_eq!(read, *expect, "{name}");
                let warning = resolved.warning.unwrap_or_default();
                let parts = expect["warning"].as_array().cloned().unwrap_or_default();
                assert_eq!(warning.is_empty(), parts.is_empty(), "{name}: {warning}");
                for part in parts {
                    assert!(warning.contains(part.as_str().expect("a text")), "{name}: {part} is not in: {warning}");
                }
                assert!(!warning.contains('\n'), "{name}: {warning}");
                let several = expect["warning"].to_string().contains("several clouds");
                assert_eq!(warning.contains("several clouds"), several, "{name}: {warning}");
            }
            (Err(error), Some(expect)) => {
                let told = match error {
                    CloudError::UnknownCloud => "unknown_cloud",
                    CloudError::BadAuthority { .. } => "bad_authority",
                    CloudError::BadScope => "bad_scope",
                    CloudError::PathOfAuthority { .. } => "path_of_authority",
                };
                assert_eq!(json!({"setting": error.setting(), "name": told}), *expect, "{name}");
                assert!(error.to_string().starts_with(error.setting()), "{name}: {error}");
            }
            (outcome, _) => panic!("{name}: {outcome:?}"),
        }
    }
}

#[test]
fn resource_vectors() {
    for case in cases("resources") {
        let scope = case["scope"].as_str().expect("scope");
        assert_eq!(cloud::resource_of(scope), case["resource"], "{scope}");
    }
}

#[test]
fn cloud_table_is_consistent() {
    for known in Cloud::KNOWN {
        let facts = known.facts();
        assert_eq!(facts.private_link_zone, format!("privatelink.{}", facts.host_suffix));
        assert!(facts.scope.ends_with("/.default") && facts.management_scope.ends_with("/.default"));
        assert_eq!(known.as_str().parse(), Ok(known));
        assert_eq!(serde_json::to_value(known).expect("a name"), known.as_str());
    }
}

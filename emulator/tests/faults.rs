//! Faults.

mod common;

use std::time::{Duration, Instant};

use common::{DATABASE, Emulated, MANAGEMENT, claims};
use pgentra_emulator::fault::{Connection, Fault};
use pgentra_emulator::jwt::TokenError;
use serde_json::{Value, json};

#[tokio::test]
async fn fault_with_times_ends_after_them() {
    let emulated = Emulated::start().await;
    emulated.set("POST", "/faults", json!({"endpoint": "token", "status": 503, "after": 1, "times": 2})).await;
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(emulated.token(json!({})).await.0);
    }
    assert_eq!(statuses, [200, 503, 503, 200, 200]);
    assert_eq!(emulated.control("GET", "/faults", None).await.1, json!([]));
}

#[tokio::test]
async fn fault_without_times_lasts_until_cleared() {
    let emulated = Emulated::start().await;
    let ids = emulated.set("POST", "/faults", json!([{"status": 500}, {"endpoint": "imds", "status": 410}])).await;
    assert_eq!(emulated.imds(json!({})).await.0, 500, "the first that fits");
    emulated.set("DELETE", &format!("/faults/{}", ids["ids"][0]), json!({})).await;
    assert_eq!((emulated.imds(json!({})).await.0, emulated.token(json!({})).await.0), (410, 200));
    emulated.set("DELETE", "/faults", json!({})).await;
    assert_eq!(emulated.imds(json!({})).await.0, 200);
}

#[tokio::test]
async fn fault_is_limited_to_its_principal_and_resource() {
    let emulated = Emulated::start().await;
    emulated.set("POST", "/faults", json!({"principal": "batch-mi", "resource": "management", "status": 403})).await;
    let table = [(1, DATABASE, 200), (1, MANAGEMENT, 200), (2, DATABASE, 200), (2, MANAGEMENT, 403)];
    for (number, resource, status) in table {
        let changes = json!({"resource": resource, "client_id": format!("11111111-0000-0000-0000-{number:012}")});
        assert_eq!(emulated.imds(changes.clone()).await.0, status, "{changes}");
    }
}

#[tokio::test]
async fn fault_error_has_the_format_of_its_endpoint() {
    let emulated = Emulated::start().await;
    let cases = [
        (json!({"aadsts": 7000222}), 401, "invalid_client", "AADSTS7000222: "),
        (json!({"aadsts": 50076, "status": 418}), 418, "interaction_required", "AADSTS50076: "),
        (json!({"status": 504}), 504, "temporarily_unavailable", ""),
        (json!({"retry_after": 7}), 429, "temporarily_unavailable", ""),
        (json!({"error": "odd", "description": "Quite odd."}), 400, "odd", "Quite odd."),
    ];
    for (fault, status, error, beginning) in cases {
        emulated.running.state().clear_faults(None);
        emulated.set("POST", "/faults", fault.clone()).await;
        let (got, body) = emulated.token(json!({})).await;
        assert_eq!((got, &body["error"]), (status, &json!(error)), "{fault}");
        assert!(body["error_description"].as_str().unwrap().starts_with(beginning), "{body}");
        // Managed identity endpoints have the code in their text only.
        let status = if fault == json!({"aadsts": 7000222}) { 400 } else { status };
        let (got, body) = emulated.imds(json!({})).await;
        assert!(got == status && body["error_description"].as_str().unwrap().starts_with(beginning), "{body}");
        let (got, body) = emulated.app_service(json!({})).await;
        assert_eq!((got, &body["statusCode"]), (status, &json!(status)));
    }
    emulated.running.state().clear_faults(None);
    emulated.set("POST", "/faults", json!({"retry_after": 7})).await;
    assert_eq!(emulated.token_request(json!({})).send().await.unwrap().headers()["retry-after"], "7");
}

#[tokio::test]
async fn fault_escaped_errors_separates_the_trailer_by_line_breaks() {
    let emulated = Emulated::start().await;
    emulated.set("POST", "/faults", json!({"aadsts": 7000215, "shape": {"escaped_errors": true}})).await;
    let text = emulated.token_request(json!({})).send().await.unwrap().text().await.unwrap();
    assert!(text.contains(r"\r\nTrace ID: "), "{text}");
    let text = emulated.imds_request(json!({})).header("Metadata", "true").send().await.unwrap().text().await.unwrap();
    assert!(text.contains(r"\r\nTrace ID: "), "{text}");
}

#[tokio::test]
async fn fault_echo_secret_repeats_the_secret() {
    let emulated = Emulated::start().await;
    emulated.set("POST", "/faults", json!({"echo_secret": true})).await;
    let (status, body) = emulated.token(json!({"client_secret": "canary-secret"})).await;
    assert_eq!(status, 401);
    assert!(body["error_description"].as_str().unwrap().contains("'canary-secret'"));
    let header = &emulated.addresses().app_service.header;
    assert!(emulated.app_service(json!({})).await.1["message"].as_str().unwrap().contains(header));
    let requests = emulated.control("GET", "/requests", None).await.1.to_string();
    assert!(!requests.contains("canary-secret") && !requests.contains(header));
}

#[tokio::test]
async fn fault_body_replaces_the_body() {
    let emulated = Emulated::start().await;
    let fetch = async |fault: Value| {
        emulated.running.state().clear_faults(None);
        emulated.set("POST", "/faults", fault).await;
        let response = emulated.token_request(json!({})).send().await.unwrap();
        let content_type = response.headers()["content-type"].to_str().unwrap().to_owned();
        (response.status().as_u16(), content_type, response.bytes().await.unwrap())
    };
    let (status, content_type, body) = fetch(json!({"body": "html"})).await;
    assert_eq!((status, content_type.split(';').next()), (503, Some("text/html")));
    assert!(body.starts_with(b"<!DOCTYPE"));
    let (status, _, body) = fetch(json!({"body": "empty"})).await;
    assert_eq!((status, body.len()), (200, 0));
    let (status, _, body) = fetch(json!({"body": "empty", "status": 500})).await;
    assert_eq!((status, body.len()), (500, 0));
    let (status, _, body) = fetch(json!({"body": "truncated"})).await;
    assert!(status == 200 && body.starts_with(b"{") && serde_json::from_slice::<Value>(&body).is_err());
    let (status, _, body) = fetch(json!({"body": "big"})).await;
    assert!(status == 500 && body.len() > 1 << 20);
    let (status, _, body) = fetch(json!({"body": "empty_object"})).await;
    assert_eq!((status, &body[..]), (200, &b"{}"[..]));
    let (_, _, body) = fetch(json!({"body": "binary"})).await;
    assert!(std::str::from_utf8(&body).is_err());
    let (status, content_type, _) = fetch(json!({"content_type": "text/plain"})).await;
    assert_eq!((status, content_type.as_str()), (200, "text/plain"));
    let (status, _, _) = fetch(json!({"content_type": "line\nbreak"})).await;
    assert_eq!(status, 500, "impossible headers do no harm");
}

#[tokio::test]
async fn fault_connection_breaks_the_response() {
    let emulated = Emulated::start().await;
    for connection in ["drop", "drop_mid_body", "garbage"] {
        for endpoint in ["token", "imds"] {
            emulated.set("POST", "/faults", json!({"endpoint": endpoint, "connection": connection, "times": 1})).await;
            let request = match endpoint {
                "token" => emulated.token_request(json!({})),
                _ => emulated.imds_request(json!({})).header("Metadata", "true"),
            };
            let outcome = async { request.send().await?.bytes().await };
            assert!(outcome.await.is_err(), "{connection} at {endpoint}");
        }
        assert_eq!(emulated.token(json!({})).await.0, 200, "after {connection}");
    }
}

#[tokio::test]
async fn fault_black_hole_ends_when_cleared_or_disconnected() {
    let emulated = Emulated::start().await;
    let state = emulated.running.state();
    state.add_fault(Fault { connection: Some(Connection::BlackHole), ..Fault::at("imds") });
    let in_flight = async |expected| {
        tokio::time::timeout(common::LIMIT, async {
            while state.requests.counters("imds").in_flight != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    };
    let hanging = tokio::spawn(emulated.imds_request(json!({})).header("Metadata", "true").send());
    in_flight(1).await;
    hanging.abort();
    in_flight(0).await;

    let hanging = tokio::spawn(emulated.imds_request(json!({})).header("Metadata", "true").send());
    in_flight(1).await;
    assert!(!hanging.is_finished());
    emulated.set("DELETE", "/faults", json!({})).await;
    assert!(hanging.await.unwrap().is_err());
    let last = state.requests.snapshot().requests.pop().unwrap();
    assert!(last.status.is_none() && last.finished_ms.is_some());
}

#[tokio::test]
async fn fault_latency_delays_a_success() {
    let emulated = Emulated::start().await;
    emulated.set("POST", "/faults", json!({"endpoint": "token", "latency_ms": 150})).await;
    let start = Instant::now();
    assert_eq!(emulated.token(json!({})).await.0, 200);
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn requests_in_flight_are_counted() {
    let emulated = Emulated::start().await;
    emulated.set("POST", "/faults", json!({"endpoint": "token", "latency_ms": 300})).await;
    let one = emulated.token(json!({}));
    let other = emulated.token(json!({}));
    tokio::join!(one, other);
    let counters = emulated.running.state().requests.counters("token");
    assert_eq!((counters.total, counters.max_in_flight, counters.in_flight, counters.connections), (2, 2, 0, 2));
    assert_eq!(emulated.token(json!({})).await.0, 200);
    let counters = emulated.running.state().requests.counters("token");
    assert_eq!((counters.total, counters.connections), (3, 2), "the third reused a connection");
}

#[tokio::test]
async fn fault_shape_changes_a_success() {
    let emulated = Emulated::start().await;
    let token = async |shape: Value| {
        emulated.running.state().clear_faults(None);
        emulated.set("POST", "/faults", json!({ "shape": shape })).await;
        emulated.token(json!({})).await.1
    };
    assert_eq!(token(json!({"lifetime_s": 20})).await["expires_in"], 20);
    assert_eq!(token(json!({"lifetime_s": 7200})).await["refresh_in"], 3600);
    assert_eq!(token(json!({"lifetime_s": 7199})).await.get("refresh_in"), None);
    assert_eq!(token(json!({"lifetime_s": 86400, "omit_refresh_in": true})).await.get("refresh_in"), None);
    assert_eq!(token(json!({"refresh_in_s": 5})).await["refresh_in"], 5);
    assert_eq!(token(json!({"numbers": "string"})).await["expires_in"], "3600");
    assert_eq!(token(json!({"omit": ["access_token", "token_type"]})).await.get("access_token"), None);
    assert_eq!(token(json!({"lifetime_s": -5})).await["expires_in"], -5);

    let imds = async |shape: Value| {
        emulated.running.state().clear_faults(None);
        emulated.set("POST", "/faults", json!({ "shape": shape })).await;
        emulated.imds(json!({})).await.1
    };
    assert!(imds(json!({"expires_on": "number"})).await["expires_on"].is_number());
    assert!(imds(json!({"expires_on": "date"})).await["expires_on"].as_str().unwrap().ends_with("M +00:00"));
    assert_eq!(imds(json!({"expires_on": "missing"})).await.get("expires_on"), None);
    assert_eq!(imds(json!({"omit": ["resource"]})).await.get("resource"), None);
    assert!(imds(json!({"numbers": "number"})).await["expires_in"].is_number());
    assert_eq!(imds(json!({"refresh_in_s": 9})).await["refresh_in"], "9");
}

#[tokio::test]
async fn fault_same_token_repeats_the_token() {
    let emulated = Emulated::start().await;
    let first = emulated.token(json!({})).await.1;
    emulated.set("PATCH", "/tokens", json!({"same_token": true})).await;
    assert_eq!(emulated.token(json!({})).await.1["access_token"], first["access_token"]);
    let of_other_resource = emulated.token(json!({"scope": format!("{MANAGEMENT}/.default")})).await.1;
    assert_ne!(of_other_resource["access_token"], first["access_token"]);
    emulated.set("PATCH", "/tokens", json!({"same_token": null})).await;
    assert_ne!(emulated.token(json!({})).await.1["access_token"], first["access_token"]);
}

#[tokio::test]
async fn token_settings_clock_skew_changes_tokens_and_dates() {
    let emulated = Emulated::start().await;
    for skew in [3_600, -3_600] {
        let before = emulated.running.state().now();
        emulated.set("PATCH", "/tokens", json!({ "clock_skew_s": skew })).await;
        let response = emulated.token_request(json!({})).send().await.unwrap();
        let date = httpdate::parse_http_date(response.headers()["date"].to_str().unwrap()).unwrap();
        let date = i64::try_from(date.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap();
        assert!((skew..skew + 60).contains(&(date - before)), "{skew}");
        let token = response.json::<Value>().await.unwrap()["access_token"].clone();
        assert!((3_600 + skew..3_660 + skew).contains(&(claims(&token)["exp"].as_i64().unwrap() - before)));
        assert!(
            emulated.running.state().verify(token.as_str().unwrap()).is_ok(),
            "the database has the service's clock"
        );
        emulated.set("PATCH", "/tokens", json!({"clock_skew_s": null})).await;
    }
}

#[tokio::test]
async fn keys_rotation_keeps_or_retires_old_keys() {
    let emulated = Emulated::start().await;
    let state = emulated.running.state();
    let old = emulated.token(json!({})).await.1["access_token"].as_str().unwrap().to_owned();
    emulated.set("POST", "/faults", json!({"endpoint": "token", "rotate_keys": true, "times": 1})).await;
    let new = emulated.token(json!({})).await.1["access_token"].as_str().unwrap().to_owned();
    assert_ne!(old.split('.').next(), new.split('.').next(), "another key id");
    assert!(state.verify(&old).is_ok() && state.verify(&new).is_ok());
    emulated.set("POST", "/keys/rotate", json!({"retire_old": true})).await;
    assert_eq!(state.verify(&new).err(), Some(TokenError::BadSignature));
}

#[tokio::test]
async fn discovery_fault_returns_its_error() {
    let emulated = Emulated::start().await;
    emulated.set("POST", "/faults", json!({"endpoint": "discovery", "status": 503, "times": 1})).await;
    let url = format!("{}/contoso.example/v2.0/.well-known/openid-configuration", emulated.addresses().authority_host);
    let mut statuses = Vec::new();
    for _ in 0..2 {
        statuses.push(emulated.client.get(&url).send().await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [503, 200]);
}

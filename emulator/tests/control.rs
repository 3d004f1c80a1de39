//! The control endpoint and the configuration file.

mod common;

use common::{DATABASE, Emulated, ORDERS_API, claims};
use pgentra_emulator::Emulator;
use pgentra_emulator::config::Config;
use pgentra_emulator::jwt::TokenError;
use pgentra_emulator::principal::{Principal, PrincipalKind, RoleKind};
use pgentra_emulator::state::MintRequest;
use serde_json::{Value, json};

#[tokio::test]
async fn requests_are_recorded_without_secrets() {
    let emulated = Emulated::start().await;
    let minted = emulated.set("POST", "/mint", json!({"principal": "orders-api"})).await["token"].clone();
    let odd =
        json!({"client_secret": "canary-1", "client_assertion": minted, "unheard_of": "canary-2", "client_info": "1"});
    let request = emulated.token_request(odd).header("Authorization", "Bearer canary-3").header("Cookie", "canary-4");
    request.query(&[("code", "canary-5"), ("scope", "seen")]).send().await.unwrap();
    emulated.app_service(json!({})).await;
    emulated.imds(json!({})).await;

    let (_, log) = emulated.control("GET", "/requests", None).await;
    let text = log.to_string();
    assert!(!text.contains("canary") && !text.contains(minted.as_str().unwrap()) && !text.contains("eyJ"), "{text}");
    assert!(!text.contains(&emulated.addresses().app_service.header));
    let request = &log["requests"][0];
    assert_eq!(
        (&request["endpoint"], &request["method"], &request["principal"]),
        (&json!("token"), &json!("POST"), &json!("orders-api"))
    );
    assert_eq!((&request["form"]["client_secret"], &request["form"]["unheard_of"]), (&json!("***"), &json!("***")));
    assert_eq!((&request["form"]["client_id"], &request["query"]["scope"]), (&json!(ORDERS_API), &json!("seen")));
    assert_eq!((&request["resource"], &request["headers"]["authorization"]), (&json!(DATABASE), &json!("***")));
    assert!(request["finished_ms"].as_u64() >= request["started_ms"].as_u64());
    assert_eq!(log["requests"][1]["headers"]["x-identity-header"], "***");
    assert_eq!(log["requests"][2]["headers"]["metadata"], "true");
    assert_eq!(log["counters"]["imds"], json!({"total": 1, "in_flight": 0, "max_in_flight": 1, "connections": 1}));
    assert_eq!(log["accepted"], json!({"app_service": 1, "entra": 1, "imds": 1}));

    let (_, filtered) = emulated.control("GET", "/requests?endpoint=imds", None).await;
    assert_eq!(filtered["requests"].as_array().unwrap().len(), 1);
    let (_, filtered) = emulated.control("GET", "/requests?since=1", None).await;
    assert_eq!(filtered["requests"].as_array().unwrap().len(), 2);
    emulated.control("DELETE", "/requests", None).await;
    let (_, log) = emulated.control("GET", "/requests", None).await;
    assert_eq!((&log["requests"], &log["counters"]["token"]["total"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn mint_creates_every_kind_of_token() {
    let emulated = Emulated::start().await;
    let state = emulated.running.state();
    let table = [
        (json!({"principal": "alice@contoso.example"}), None),
        (json!({"principal": "alice@contoso.example", "audience": "management"}), Some(TokenError::WrongAudience)),
        (json!({"principal": "app-mi", "lifetime_s": -1}), Some(TokenError::Expired)),
        (json!({"principal": "app-mi", "not_before_s": 60}), Some(TokenError::NotYetValid)),
        (
            json!({"principal": "app-mi", "tenant_id": "88888888-0000-0000-0000-000000000008"}),
            Some(TokenError::WrongTenant),
        ),
        (json!({"principal": "app-mi", "forged": true}), Some(TokenError::BadSignature)),
        (json!({"principal": "app-mi", "unsigned": true}), Some(TokenError::BadSignature)),
        (json!({"principal": "app-mi", "claims": {"oid": null}}), Some(TokenError::NoOid)),
        (json!({"principal": "app-mi", "claims": {"exp": "soon"}}), Some(TokenError::Malformed)),
    ];
    for (request, refusal) in table {
        let minted = emulated.set("POST", "/mint", request.clone()).await;
        assert_eq!(state.verify(minted["token"].as_str().unwrap()).err(), refusal, "{request}");
        assert_eq!(Value::Object(claims(&minted["token"])), minted["claims"]);
    }
    let user = emulated.set("POST", "/mint", json!({"principal": "alice@contoso.example"})).await["claims"].clone();
    assert_eq!(
        (&user["upn"], &user["unique_name"]),
        (&json!("alice@contoso.example"), &json!("alice@contoso.example"))
    );
    assert!(user["scp"].is_string() && user.get("idtyp").is_none() && user.get("groups").is_none());
    assert!(
        !state
            .verify(
                emulated.set("POST", "/mint", json!({"principal": "alice@contoso.example"})).await["token"]
                    .as_str()
                    .unwrap()
            )
            .unwrap()
            .app_only
    );
    let guest =
        emulated.set("POST", "/mint", json!({"principal": "bob_home.example#EXT#@contoso.example"})).await["claims"]
            .clone();
    assert_eq!(
        (guest.get("upn"), &guest["unique_name"], &guest["email"]),
        (None, &json!("bob@home.example"), &json!("bob@home.example"))
    );
    let named = emulated.set("POST", "/mint", json!({"principal": "app-mi", "named": true})).await["claims"].clone();
    assert!(named["xms_mirid"].as_str().unwrap().ends_with("/app-mi"));
    for bad in
        [json!({"principal": "nobody"}), json!({"principal": "db-readers"}), json!({}), json!({"principle": "app-mi"})]
    {
        let (status, body) = emulated.control("POST", "/mint", Some(bad.clone())).await;
        assert!(status == 400 && body["error"].is_string(), "{bad}: {body}");
    }
}

#[tokio::test]
async fn principals_are_added_and_replaced_by_name() {
    let emulated = Emulated::start().await;
    let secret = |secret: &str| json!({"name": "late", "kind": "service_principal", "appid": "late-app", "client_secret": secret});
    let ask = async |secret: &str| emulated.token(json!({"client_id": "late-app", "client_secret": secret})).await.0;
    assert_eq!(ask("one").await, 400);
    emulated.set("POST", "/principals", secret("one")).await;
    assert_eq!(ask("one").await, 200);
    emulated.set("POST", "/principals", json!([secret("two")])).await;
    assert_eq!((ask("one").await, ask("two").await), (401, 200));
    let names = emulated.control("GET", "/principals", None).await.1;
    assert_eq!(names.as_array().unwrap().iter().filter(|principal| principal["name"] == "late").count(), 1);
    for bad in [
        json!({"name": "late", "kind": "robot"}),
        json!({"name": "", "kind": "user"}),
        json!({"name": "other", "kind": "service_principal", "appid": "late-app"}),
        json!({"name": "other", "kind": "user", "groups": ["no-such-group"]}),
        json!({"name": "other", "kind": "user", "colour": "blue"}),
    ] {
        assert_eq!(emulated.control("POST", "/principals", Some(bad.clone())).await.0, 400, "{bad}");
    }
    assert!(emulated.running.state().principal("other").is_none());
}

#[tokio::test]
async fn config_round_trip_keeps_everything() {
    let emulated = Emulated::start().await;
    let (_, before) = emulated.control("GET", "/config", None).await;
    emulated.set("PUT", "/config", before.clone()).await;
    assert_eq!(emulated.control("GET", "/config", None).await.1, before);
    let changed = emulated
        .set("PUT", "/config", json!({"tokens": {"lifetime_s": 7}, "app_service": {"default": "batch-mi"}}))
        .await;
    assert_eq!((&changed["tokens"]["lifetime_s"], &changed["principals"]), (&json!(7), &before["principals"]));
    assert_eq!(
        claims(&emulated.app_service(json!({})).await.1["access_token"])["oid"],
        "aaaaaaaa-0000-0000-0000-000000000002"
    );
    for bad in [
        json!({"tenant": 1}),
        json!({"app_service": {"default": "orders-api"}}),
        json!([]),
        json!({"tokens": {"lifetime": 7}}),
    ] {
        assert_eq!(emulated.control("PUT", "/config", Some(bad.clone())).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn config_change_keeps_the_faults() {
    let emulated = Emulated::start().await;
    let ids = emulated
        .set("POST", "/faults", json!([{"id": 77, "status": 500, "times": 1}, {"status": 503, "times": 2}]))
        .await;
    assert_eq!((emulated.token(json!({})).await.0, emulated.token(json!({})).await.0), (500, 503));
    emulated.set("PUT", "/config", json!({"tokens": {"lifetime_s": 7}})).await;
    let (_, faults) = emulated.control("GET", "/faults", None).await;
    assert_eq!(
        (faults.as_array().unwrap().len(), &faults[0]["id"], &faults[0]["times"]),
        (1, &ids["ids"][1], &json!(1))
    );
}

#[tokio::test]
async fn control_endpoint_invalid_request_returns_the_reason() {
    let emulated = Emulated::start().await;
    for (method, path) in [("POST", "/faults"), ("PATCH", "/tokens"), ("POST", "/principals"), ("PUT", "/config")] {
        for bad in [json!("text"), json!({"no_such_key": 1}), json!(7)] {
            let (status, body) = emulated.control(method, path, Some(bad.clone())).await;
            assert!(status == 400 && body["error"].is_string(), "{method} {path} {bad}: {body}");
        }
    }
    assert_eq!(emulated.control("GET", "/postgres", None).await.0, 404, "there is no PostgreSQL here");
    assert_eq!(emulated.control("GET", "/nothing", None).await.0, 404);
    let (_, ready) = emulated.control("GET", "/ready", None).await;
    assert_eq!(ready, serde_json::to_value(emulated.addresses()).unwrap());
}

#[test]
fn config_load_reads_toml_and_json() {
    let directory = tempfile::tempdir().unwrap();
    let toml = directory.path().join("setup.toml");
    std::fs::write(
        &toml,
        r#"
            tenant_domains = ["fabrikam.example"]
            identity_header = "fixed"
            [tokens]
            lifetime_s = 20
            [imds]
            default = "disk"
            [[principals]]
            name = "disk"
            kind = "system_assigned"
            role = { name = "disk_role", kind = "user", admin = true }
            [[principals]]
            name = "quiet"
            kind = "user_assigned"
            role = false
            [[faults]]
            endpoint = "imds"
            status = 410
            times = 2
            shape = { expires_on = "number" }
        "#,
    )
    .unwrap();
    let config = Config::load(&toml).unwrap();
    assert_eq!(config.principals.len(), 2);
    let role = config.principals[0].role().unwrap();
    assert_eq!((role.name.as_str(), role.kind, role.admin), ("disk_role", RoleKind::User, true));
    assert_eq!(
        config.principals[0].oid,
        Principal::new("disk", PrincipalKind::SystemAssigned).oid,
        "derived from the name"
    );
    assert_eq!(config.principals[1].role(), None);
    assert_eq!((config.faults[0].status, config.faults[0].times), (Some(410), Some(2)));

    let json = directory.path().join("setup.json");
    std::fs::write(&json, serde_json::to_string(&config).unwrap()).unwrap();
    let again = Config::load(&json).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&config).unwrap());

    std::fs::write(&toml, "tenant = 1").unwrap();
    let error = Config::load(&toml).unwrap_err().to_string();
    assert!(error.contains("setup.toml") && error.contains("tenant"), "{error}");
    assert!(Config::load(&directory.path().join("missing.toml")).is_err());
}

#[test]
fn blocking_emulator_ends_when_dropped() {
    let emulator = Emulator::builder().start_blocking().unwrap();
    let control = emulator.addresses().control.strip_prefix("http://").unwrap().to_owned();
    let request = MintRequest { principal: "app-mi".into(), ..MintRequest::default() };
    assert!(emulator.state().verify(&emulator.state().mint(&request).unwrap().token).is_ok());
    assert!(std::net::TcpStream::connect(&control).is_ok());
    drop(emulator);
    assert!(std::net::TcpStream::connect(&control).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn principals_added_concurrently_are_all_kept() {
    let emulated = Emulated::start().await;
    let names: Vec<String> = (0..64).map(|index| format!("beside-{index}")).collect();
    let added = names.iter().map(|name| {
        let state = emulated.running.state().clone();
        let principal = Principal::new(name, PrincipalKind::UserAssigned);
        tokio::task::spawn_blocking(move || state.put_principal(principal))
    });
    for adding in added.collect::<Vec<_>>() {
        adding.await.unwrap().unwrap();
    }
    let there = emulated.running.state().principals();
    let missing: Vec<&String> = names.iter().filter(|name| !there.iter().any(|one| one.name == **name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

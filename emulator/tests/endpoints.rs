//! The endpoints without faults: their tokens and their errors.

mod common;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::{DATABASE, Emulated, MANAGEMENT, ORDERS_API, claims, names, response_of};
use pgentra_emulator::config::TENANT_ID;
use pgentra_emulator::jwt::TokenError;
use serde_json::{Value, json};

#[tokio::test]
async fn token_endpoint_client_secret_returns_a_database_token() {
    let emulated = Emulated::start().await;
    let response = emulated.token_request(json!({})).send().await.unwrap();
    let date = httpdate::parse_http_date(response.headers()["date"].to_str().unwrap()).unwrap();
    assert!(date.elapsed().unwrap().as_secs() < 60);
    let (status, body) = response_of(response).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&body["token_type"], &body["expires_in"], &body["ext_expires_in"]),
        (&json!("Bearer"), &json!(3600), &json!(3600))
    );
    assert!(body.get("refresh_in").is_none() && body.get("expires_on").is_none() && body.get("resource").is_none());

    let token = body["access_token"].as_str().unwrap();
    let verified = emulated.running.state().verify(token).unwrap();
    assert_eq!(verified.oid, "aaaaaaaa-0000-0000-0000-000000000005");
    assert!(verified.app_only);
    let claims = claims(&body["access_token"]);
    assert_eq!(claims["aud"], DATABASE);
    assert_eq!(claims["iss"], format!("https://sts.windows.net/{TENANT_ID}/"));
    assert_eq!(
        (&claims["appid"], &claims["appidacr"], &claims["sub"]),
        (&json!(ORDERS_API), &json!("1"), &claims["oid"])
    );
    for name in ["xms_mirid", "upn", "unique_name", "preferred_username", "name"] {
        assert!(!claims.contains_key(name), "a service principal's token has {name}");
    }
}

#[tokio::test]
async fn token_endpoint_errors_are_those_of_entra() {
    let emulated = Emulated::start().await;
    let table = [
        (json!({"client_secret": "wrong"}), 401, "invalid_client", 7000215),
        (json!({"client_secret": null}), 401, "invalid_client", 7000218),
        (json!({"client_id": "nobody"}), 400, "unauthorized_client", 700016),
        (json!({"client_id": null}), 400, "invalid_request", 900144),
        // Users and groups are not clients, by any id.
        (json!({"client_id": "aaaaaaaa-0000-0000-0000-000000000007"}), 400, "unauthorized_client", 700016),
        (json!({"scope": DATABASE}), 400, "invalid_scope", 1002012),
        (json!({"scope": "openid profile"}), 400, "invalid_scope", 70011),
        (json!({"scope": "/.default"}), 400, "invalid_scope", 70011),
        (json!({"scope": null}), 400, "invalid_request", 900144),
        (json!({"scope": "https://nowhere.example/.default"}), 400, "invalid_resource", 500011),
        (json!({"grant_type": null}), 400, "invalid_request", 900144),
        (json!({"grant_type": "password"}), 400, "unsupported_grant_type", 70003),
    ];
    for (changes, status, error, code) in table {
        let (got_status, body) = emulated.token(changes.clone()).await;
        assert_eq!(
            (got_status, &body["error"], &body["error_codes"]),
            (status, &json!(error), &json!([code])),
            "{changes}"
        );
        let description = body["error_description"].as_str().unwrap();
        assert!(description.starts_with(&format!("AADSTS{code}: ")), "{description}");
        let trailer = format!(
            " Trace ID: {} Correlation ID: {} Timestamp: {}",
            body["trace_id"].as_str().unwrap(),
            body["correlation_id"].as_str().unwrap(),
            body["timestamp"].as_str().unwrap()
        );
        assert!(description.ends_with(&trailer), "{description}");
    }
}

#[tokio::test]
async fn token_endpoint_accepts_tenant_id_and_domain() {
    let emulated = Emulated::start().await;
    let table = [
        (TENANT_ID, 200, None),
        ("contoso.example", 200, None),
        ("99999999-0000-0000-0000-00000000ffff", 400, Some(90002)),
        ("other.example", 400, Some(90002)),
        ("not-a-tenant", 400, Some(900023)),
    ];
    for (tenant, status, code) in table {
        let url = format!("{}/{tenant}/oauth2/v2.0/token", emulated.addresses().authority_host);
        let form = json!({
            "grant_type": "client_credentials", "client_id": ORDERS_API, "client_secret": "orders-api-secret",
            "scope": format!("{MANAGEMENT}/.default"),
        });
        let (got, body) = response_of(emulated.client.post(url).form(&form).send().await.unwrap()).await;
        assert_eq!((got, body["error_codes"][0].as_i64()), (status, code), "{tenant}: {body}");
    }
}

#[tokio::test]
async fn token_endpoint_scope_determines_the_audience() {
    let emulated = Emulated::start().await;
    let table = [
        (format!("{DATABASE}/.default"), DATABASE),
        (format!("{DATABASE}//.default"), "https://ossrdbms-aad.database.windows.net/"),
        ("123cd850-d9df-40bd-94d5-c9f07b7fa203/.default".into(), "123cd850-d9df-40bd-94d5-c9f07b7fa203"),
        (
            "https://ossrdbms-aad.database.chinacloudapi.cn/.default".into(),
            "https://ossrdbms-aad.database.chinacloudapi.cn",
        ),
    ];
    for (scope, audience) in table {
        let (_, body) = emulated.token(json!({ "scope": scope })).await;
        assert_eq!(claims(&body["access_token"])["aud"], audience);
        assert!(emulated.running.state().verify(body["access_token"].as_str().unwrap()).is_ok());
    }
    let (_, body) = emulated.token(json!({"scope": format!("{MANAGEMENT}/.default")})).await;
    let refusal = emulated.running.state().verify(body["access_token"].as_str().unwrap()).err();
    assert_eq!(refusal, Some(TokenError::WrongAudience));
}

#[tokio::test]
async fn token_endpoint_accepts_basic_authorization() {
    let emulated = Emulated::start().await;
    for (password, status) in [("orders%2Dapi-secret", 200), ("wrong", 401)] {
        let header = format!("Basic {}", STANDARD.encode(format!("{ORDERS_API}:{password}")));
        let request = emulated.token_request(json!({"client_id": null, "client_secret": null}));
        assert_eq!(request.header("Authorization", header).send().await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn token_endpoint_matches_workload_assertions_with_federated_credentials() {
    let emulated = Emulated::start().await;
    let subject = "system:serviceaccount:shop:orders";
    let issuer = "https://oidc.example/cluster";
    emulated
        .set(
            "POST",
            "/principals",
            json!({"name": "workload", "kind": "user_assigned", "appid": "w1", "role": false,
                   "federated_credentials": [{"issuer": issuer, "subject": subject}]}),
        )
        .await;
    let minted = async |changes: Value| {
        let mut request = json!({"principal": "workload", "federated": {"issuer": issuer, "subject": subject}});
        request.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        emulated.set("POST", "/mint", request).await["token"].clone()
    };
    let table = [
        (minted(json!({})).await, 200, None),
        (minted(json!({"claims": {"aud": "api://AzureADTokenExchange"}})).await, 200, None),
        (minted(json!({"claims": {"iss": "https://other.example"}})).await, 401, Some(700211)),
        (minted(json!({"claims": {"sub": "system:serviceaccount:shop:other"}})).await, 401, Some(700213)),
        (minted(json!({"claims": {"sub": "System:ServiceAccount:shop:orders"}})).await, 401, Some(7002138)),
        (minted(json!({"claims": {"aud": ["api://other"]}})).await, 401, Some(700212)),
        (minted(json!({"lifetime_s": -600, "not_before_s": -1200})).await, 401, Some(700024)),
        (minted(json!({"forged": true})).await, 401, Some(700027)),
        (minted(json!({"unsigned": true})).await, 401, Some(700027)),
        (json!("no token at all"), 400, Some(50027)),
    ];
    for (assertion, status, code) in table {
        let changes = json!({
            "client_id": "w1", "client_secret": null, "client_assertion": assertion,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        });
        let (got, body) = emulated.token(changes).await;
        assert_eq!((got, body["error_codes"][0].as_i64()), (status, code), "{body}");
    }
}

#[tokio::test]
async fn imds_returns_the_default_or_the_requested_identity() {
    let emulated = Emulated::start().await;
    let (status, body) = emulated.imds(json!({})).await;
    assert_eq!(status, 200);
    let mut fields = names(body.as_object().unwrap());
    fields.sort_unstable();
    let expected = [
        "access_token",
        "client_id",
        "expires_in",
        "expires_on",
        "ext_expires_in",
        "not_before",
        "resource",
        "token_type",
    ];
    assert_eq!(fields, expected);
    assert!(body.as_object().unwrap().values().all(Value::is_string), "{body}");
    assert_eq!((&body["expires_in"], &body["resource"]), (&json!("86400"), &json!(DATABASE)));
    let expires_on = claims(&body["access_token"])["exp"].as_i64().unwrap();
    assert_eq!(body["expires_on"], expires_on.to_string());

    let app_mi =
        claims(&emulated.imds(json!({"client_id": "11111111-0000-0000-0000-000000000001"})).await.1["access_token"]);
    let resource_id = "/subscriptions/99999999-0000-0000-0000-0000000000a5/resourceGroups/emulator/providers/\
                       Microsoft.ManagedIdentity/userAssignedIdentities/app-mi";
    for (selector, value) in
        [("object_id", "aaaaaaaa-0000-0000-0000-000000000001"), ("msi_res_id", resource_id), ("mi_res_id", "ignored")]
    {
        let (status, body) = emulated.imds(json!({ selector: value })).await;
        assert_eq!(status, 200, "{selector}");
        let expected = if selector == "mi_res_id" {
            "aaaaaaaa-0000-0000-0000-000000000003"
        } else {
            "aaaaaaaa-0000-0000-0000-000000000001"
        };
        assert_eq!(claims(&body["access_token"])["oid"], expected);
    }
    assert_eq!(app_mi["oid"], "aaaaaaaa-0000-0000-0000-000000000001");
}

#[tokio::test]
async fn imds_errors_are_those_of_azure() {
    let emulated = Emulated::start().await;
    let (status, body) = response_of(emulated.imds_request(json!({})).send().await.unwrap()).await;
    assert_eq!((status, &body["error"]), (400, &json!("bad_request_102")));
    let table = [
        (json!({"client_id": "unknown"}), "Identity not found"),
        (json!({"client_id": ORDERS_API}), "Identity not found"),
        (json!({"resource": null}), "Required query variable 'resource' is missing"),
        (json!({"api-version": null}), "'api-version' query parameter is missing"),
        (json!({"api-version": "2017-09-01"}), "The requested api-version is not supported"),
    ];
    for (changes, description) in table {
        let (status, body) = emulated.imds(changes).await;
        assert_eq!((status, &body["error_description"]), (400, &json!(description)));
    }
    let (status, body) = emulated.imds(json!({"resource": "https://nowhere.example"})).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_resource")));
    let url = format!("{}/metadata/instance", emulated.addresses().imds_host);
    assert_eq!(emulated.client.get(url).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn app_service_requires_its_header() {
    let emulated = Emulated::start().await;
    let (status, body) = emulated.app_service(json!({})).await;
    assert_eq!(status, 200);
    let mut fields = names(body.as_object().unwrap());
    fields.sort_unstable();
    assert_eq!(fields, ["access_token", "client_id", "expires_on", "resource", "token_type"]);
    assert!(body["expires_on"].is_string());
    assert_eq!(body["client_id"], "11111111-0000-0000-0000-000000000001");

    let request = emulated.app_service_request(json!({}));
    for (request, expected) in
        [(request.try_clone().unwrap(), 401), (request.header("X-IDENTITY-HEADER", "wrong"), 401)]
    {
        let (status, body) = response_of(request.send().await.unwrap()).await;
        assert_eq!((status, &body["statusCode"]), (expected, &json!(expected)));
        assert!(body["message"].is_string() && body["correlationId"].is_string());
    }
    for (changes, status) in [
        (json!({"client_id": "unknown"}), 400),
        (json!({"resource": null}), 400),
        (json!({"api-version": "2017-09-01"}), 400),
        (json!({"object_id": "aaaaaaaa-0000-0000-0000-000000000002"}), 200),
    ] {
        assert_eq!(emulated.app_service(changes.clone()).await.0, status, "{changes}");
    }
}

#[tokio::test]
async fn app_service_endpoint_of_an_identity_returns_its_token() {
    let emulated = Emulated::start().await;
    let addresses = emulated.addresses();
    let slot = emulated.running.state().principal("shop/slots/staging").unwrap();
    let request = emulated
        .client
        .get(addresses.app_service.endpoint_for(&slot))
        .query(&[("api-version", "2019-08-01"), ("resource", MANAGEMENT)])
        .header("X-IDENTITY-HEADER", &addresses.app_service.header);
    let (status, body) = response_of(request.send().await.unwrap()).await;
    assert_eq!(status, 200, "{body}");
    let claims = claims(&body["access_token"]);
    assert!(claims["xms_mirid"].as_str().unwrap().ends_with("/Microsoft.Web/sites/shop/slots/staging"));
}

#[tokio::test]
async fn managed_identity_that_is_not_assigned_is_refused() {
    let emulated = Emulated::start().await;
    emulated.set("PUT", "/config", json!({"imds": {"default": null, "assigned": ["app-mi"]}})).await;
    let by_id = |number: u8| json!({"client_id": format!("11111111-0000-0000-0000-{number:012}")});
    for (changes, status) in [(by_id(1), 200), (by_id(2), 400), (json!({}), 400)] {
        assert_eq!(emulated.imds(changes.clone()).await.0, status, "{changes}");
    }
}

#[tokio::test]
async fn managed_identity_name_is_only_in_management_tokens() {
    let emulated = Emulated::start().await;
    let token = async |resource: &str, id: u8| {
        let changes = json!({"resource": resource, "client_id": format!("11111111-0000-0000-0000-{id:012}")});
        claims(&emulated.imds(changes).await.1["access_token"])
    };
    let database = token(DATABASE, 1).await;
    for name in ["appid", "appidacr", "idp", "idtyp", "oid", "sub", "tid", "uti", "rh", "xms_idrel"] {
        assert!(database.contains_key(name), "{name}");
    }
    for name in ["xms_mirid", "xms_az_rid", "upn", "name"] {
        assert!(!database.contains_key(name), "{name}");
    }
    let management = token(MANAGEMENT, 1).await;
    assert!(
        management["xms_mirid"].as_str().unwrap().ends_with("/Microsoft.ManagedIdentity/userAssignedIdentities/app-mi")
    );
    assert!(management["xms_mirid"].as_str().unwrap().contains("/resourcegroups/"));
    assert!(management["xms_az_rid"].is_string());
    let system_assigned = token(MANAGEMENT, 3).await;
    assert!(system_assigned["xms_mirid"].as_str().unwrap().ends_with("/Microsoft.Compute/virtualMachines/vm-prod"));
    assert!(!system_assigned.contains_key("xms_az_rid"));

    emulated.set("PATCH", "/tokens", json!({"named_database_tokens": true})).await;
    assert_eq!(token(DATABASE, 1).await["xms_mirid"], management["xms_mirid"]);
}

#[tokio::test]
async fn openid_configuration_keys_verify_the_tokens() {
    let emulated = Emulated::start().await;
    let base = format!("{}/{TENANT_ID}", emulated.addresses().authority_host);
    let get = async |url: &str| response_of(emulated.client.get(url).send().await.unwrap()).await;
    for version in ["", "/v2.0"] {
        let (status, configuration) = get(&format!("{base}{version}/.well-known/openid-configuration")).await;
        assert_eq!(status, 200);
        assert!(configuration["authorization_endpoint"].is_string() && configuration["issuer"].is_string());
        let expected =
            if version.is_empty() { format!("{base}/oauth2/token") } else { emulated.addresses().token_url.clone() };
        assert_eq!(configuration["token_endpoint"], expected);

        let (_, keys) = get(configuration["jwks_uri"].as_str().unwrap()).await;
        let (_, body) = emulated.token(json!({})).await;
        let token = body["access_token"].as_str().unwrap();
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let decode = |value: &Value| URL_SAFE_NO_PAD.decode(value.as_str().unwrap()).unwrap();
        let header: Value = serde_json::from_slice(&decode(&json!(signed.split('.').next()))).unwrap();
        let key = keys["keys"].as_array().unwrap().iter().find(|key| key["kid"] == header["kid"]).unwrap();
        ring::signature::RsaPublicKeyComponents { n: decode(&key["n"]), e: decode(&key["e"]) }
            .verify(&ring::signature::RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &decode(&json!(signature)))
            .unwrap();
    }
    let (status, body) =
        get(&format!("{}/other.example/v2.0/.well-known/openid-configuration", emulated.addresses().authority_host))
            .await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_tenant")));
}

#[tokio::test]
async fn instance_discovery_accepts_only_the_emulator() {
    let emulated = Emulated::start().await;
    let authority = &emulated.addresses().authority_host;
    let ask = async |endpoint: &str| {
        let url = format!("{authority}/common/discovery/instance");
        let query = [("api-version", "1.1"), ("authorization_endpoint", endpoint)];
        response_of(emulated.client.get(url).query(&query).send().await.unwrap()).await
    };
    let (status, body) = ask(&format!("{authority}/{TENANT_ID}/oauth2/v2.0/authorize")).await;
    assert_eq!(status, 200);
    assert_eq!(
        body["tenant_discovery_endpoint"],
        format!("{authority}/{TENANT_ID}/v2.0/.well-known/openid-configuration")
    );
    let (status, body) = ask("https://elsewhere.example/common/oauth2/v2.0/authorize").await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_instance")));
}

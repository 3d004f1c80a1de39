//! Applications that authenticate with certificates, act on behalf of users, and run in pipelines.

mod common;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use common::{DATABASE, Emulated, ORDERS_API, claims, trusting};
use pgentra_emulator::{Emulator, Postgres};
use ring::digest;
use ring::rand::SystemRandom;
use ring::signature::{self, RsaEncoding, RsaKeyPair};
use serde_json::{Value, json};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ALICE: &str = "alice@contoso.example";

/// Returns the text of one of the vectors' certificate files.
fn fixture(name: &str) -> String {
    let path = format!("{}/../tests/vectors/certificates/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

/// The certificates and the key of a file.
struct Identity {
    key: RsaKeyPair,
    certificates: Vec<Vec<u8>>,
}

impl Identity {
    fn read(name: &str) -> Self {
        let sections = pem::parse_many(fixture(name)).unwrap();
        let key = sections.iter().find(|section| section.tag() == "PRIVATE KEY").unwrap();
        let certificates = sections.iter().filter(|section| section.tag() == "CERTIFICATE");
        Self {
            key: RsaKeyPair::from_pkcs8(key.contents()).unwrap(),
            certificates: certificates.map(|section| section.contents().to_vec()).collect(),
        }
    }

    fn sign(&self, padding: &'static dyn RsaEncoding, header: &Value, claims: &Value) -> String {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let signed = format!("{}.{}", encode(header), encode(claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key.sign(padding, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, bytes).as_ref().to_vec()
}

fn sha1(bytes: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes).as_ref().to_vec()
}

fn with(document: &Value, changes: &Value) -> Value {
    let mut changed = document.clone();
    changed.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    changed
}

async fn by_assertion(emulated: &Emulated, assertion: &str) -> (u16, Value) {
    let proof = json!({"client_secret": null, "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion});
    emulated.token(proof).await
}

async fn register(emulated: &Emulated, changes: Value) {
    let principal = json!({"name": "orders-api", "kind": "service_principal", "appid": ORDERS_API,
                           "oid": "aaaaaaaa-0000-0000-0000-000000000005", "client_secret": "orders-api-secret"});
    emulated.set("POST", "/principals", with(&principal, &changes)).await;
}

fn good_claims(emulated: &Emulated) -> Value {
    let now = emulated.running.state().now();
    json!({"aud": emulated.addresses().token_url, "iss": ORDERS_API, "sub": ORDERS_API, "jti": "1", "nbf": now,
           "exp": now + 600})
}

#[tokio::test]
async fn token_endpoint_assertion_is_checked_with_the_registered_certificates() {
    let emulated = Emulated::start().await;
    let app = Identity::read("app.pem");
    let certificate = &app.certificates[0];
    let (pkcs1, pss) = (&signature::RSA_PKCS1_SHA256, &signature::RSA_PSS_SHA256);
    let header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": URL_SAFE_NO_PAD.encode(sha256(certificate))});
    let good = good_claims(&emulated);
    let signed = |header: &Value, claims: &Value| app.sign(pss, header, claims);

    let unknown = by_assertion(&emulated, &signed(&header, &good)).await;
    assert_eq!((unknown.0, &unknown.1["error_codes"]), (401, &json!([700027])), "no certificate is registered yet");
    register(&emulated, json!({"certificates": [fixture("expired.pem"), fixture("app.pem")]})).await;

    let rs256 = |thumbprint: String| json!({"alg": "RS256", "typ": "JWT", "x5t": thumbprint});
    let taken = [
        signed(&header, &good),
        app.sign(pkcs1, &rs256(URL_SAFE_NO_PAD.encode(sha1(certificate))), &good),
        app.sign(pkcs1, &rs256(STANDARD.encode(sha1(certificate))), &good),
        signed(&with(&header, &json!({"x5t#S256": STANDARD.encode(sha256(certificate))})), &good),
        signed(
            &header,
            &with(&good, &json!({"aud": format!("{}/contoso.example/v2.0", emulated.addresses().authority_host)})),
        ),
        // Padded, as azure.identity.aio sends it.
        signed(&header, &good) + "==",
    ];
    for (index, assertion) in taken.iter().enumerate() {
        let (status, body) = by_assertion(&emulated, assertion).await;
        assert_eq!(status, 200, "{index}: {body}");
        assert_eq!(claims(&body["access_token"])["appidacr"], "2");
    }

    let now = emulated.running.state().now();
    let expired = Identity::read("expired.pem");
    let other = Identity::read("large.pem");
    let thumbprint_of = |identity: &Identity| URL_SAFE_NO_PAD.encode(sha256(&identity.certificates[0]));
    let mut broken = signed(&header, &good);
    broken.replace_range(broken.len() - 8.., "AAAAAAAA");
    let refused = [
        (broken, 700027),
        (app.sign(pkcs1, &header, &good), 700027),
        (other.sign(pss, &header, &good), 700027),
        (other.sign(pss, &with(&header, &json!({"x5t#S256": thumbprint_of(&other)})), &good), 700027),
        (expired.sign(pss, &with(&header, &json!({"x5t#S256": thumbprint_of(&expired)})), &good), 700027),
        (signed(&json!({"alg": "PS256", "typ": "JWT"}), &good), 700027),
        (signed(&with(&header, &json!({"alg": "HS256"})), &good), 5002738),
        (signed(&header, &with(&good, &json!({"sub": "other"}))), 700021),
        (signed(&header, &with(&good, &json!({"aud": "https://elsewhere.example/t/oauth2/v2.0/token"}))), 700023),
        (signed(&header, &with(&good, &json!({"exp": now - 301}))), 700024),
        (signed(&header, &with(&good, &json!({"nbf": now + 400, "exp": now + 900}))), 700024),
    ];
    for (index, (assertion, code)) in refused.iter().enumerate() {
        let (status, body) = by_assertion(&emulated, assertion).await;
        assert_eq!((status, &body["error_codes"]), (401, &json!([code])), "{index}: {body}");
    }
}

#[tokio::test]
async fn token_endpoint_client_capabilities_are_copied_into_the_token() {
    let emulated = Emulated::start().await;
    let asking = json!({"claims": json!({"access_token": {"xms_cc": {"values": ["CP1"]}}}).to_string()});
    let (status, able) = emulated.token(asking).await;
    assert_eq!((status, &claims(&able["access_token"])["xms_cc"]), (200, &json!(["cp1"])), "{able}");
    let (_, plain) = emulated.token(json!({"claims": "{}"})).await;
    assert_eq!(claims(&plain["access_token"]).get("xms_cc"), None);
    for wrong in ["no JSON", "[]"] {
        let (status, refusal) = emulated.token(json!({"claims": wrong})).await;
        assert_eq!((status, &refusal["error_codes"]), (400, &json!([9002313])), "{refusal}");
    }
}

#[tokio::test]
async fn token_endpoint_assertion_with_a_trusted_chain_is_accepted() {
    let emulated = Emulated::start().await;
    let identity = Identity::read("chain.pem");
    // The order in the file is root, leaf, intermediate.
    let [root, leaf, intermediate] = [0, 1, 2].map(|index| identity.certificates[index].clone());
    let root_pem = pem::encode(&pem::Pem::new("CERTIFICATE", root.clone()));
    register(&emulated, json!({"trusted_subjects": [{"subject": "leaf", "issuer": root_pem}]})).await;
    let good = good_claims(&emulated);
    let sign = |x5c: Option<Vec<String>>| {
        let mut header = json!({"alg": "PS256", "typ": "JWT", "x5t#S256": URL_SAFE_NO_PAD.encode(sha256(&leaf))});
        if let Some(x5c) = x5c {
            header["x5c"] = json!(x5c);
        }
        identity.sign(&signature::RSA_PSS_SHA256, &header, &good)
    };
    let der = |certificates: &[&Vec<u8>]| Some(certificates.iter().map(|der| STANDARD.encode(der)).collect());
    let pem_text = Some(vec![STANDARD.encode(pem::encode(&pem::Pem::new("CERTIFICATE", leaf.clone())))]);
    let table: [(Option<Vec<String>>, u16, Value); 7] = [
        (der(&[&leaf, &intermediate, &root]), 200, Value::Null),
        (der(&[&leaf, &intermediate]), 200, Value::Null),
        (der(&[&leaf]), 401, Value::Null),
        (der(&[&leaf, &root]), 401, Value::Null),
        (der(&[&intermediate, &leaf]), 401, Value::Null),
        (None, 401, Value::Null),
        (pem_text, 401, json!(["base64 of PEM text in place of DER"])),
    ];
    for (index, (x5c, status, faults)) in table.into_iter().enumerate() {
        let (got, body) = by_assertion(&emulated, &sign(x5c)).await;
        assert_eq!(got, status, "{index}: {body}");
        let recorded = emulated.set("GET", "/requests?endpoint=token", Value::Null).await;
        let last = &recorded["requests"].as_array().unwrap().last().unwrap()["client_assertion"];
        assert_eq!(last["x5c_faults"], faults, "{index}");
        assert_eq!((&last["header"]["alg"], &last["claims"]["iss"]), (&json!("PS256"), &json!(ORDERS_API)));
    }
    register(&emulated, json!({"trusted_subjects": [{"subject": "another", "issuer": root_pem}]})).await;
    assert_eq!(by_assertion(&emulated, &sign(der(&[&leaf, &intermediate, &root]))).await.0, 401);
}

fn on_behalf_of(assertion: &Value) -> Value {
    json!({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "requested_token_use": "on_behalf_of",
           "assertion": assertion})
}

/// A token that a user sends to `orders-api`.
async fn sent_by(emulated: &Emulated, user: &str, changes: Value) -> Value {
    let request = json!({"principal": user, "audience": format!("api://{ORDERS_API}")});
    emulated.set("POST", "/mint", with(&request, &changes)).await["token"].clone()
}

#[tokio::test]
async fn on_behalf_of_token_is_for_the_user_and_the_application() {
    let emulated = Emulated::start().await;
    let alices = sent_by(&emulated, ALICE, json!({})).await;
    let (status, body) = emulated.token(on_behalf_of(&alices)).await;
    assert_eq!((status, &body["scope"]), (200, &json!(format!("{DATABASE}/user_impersonation"))), "{body}");
    let token = claims(&body["access_token"]);
    assert_eq!((&token["upn"], &token["appid"], &token["appidacr"]), (&json!(ALICE), &json!(ORDERS_API), &json!("1")));
    assert_eq!((&token["aud"], &token["scp"]), (&json!(DATABASE), &json!("user_impersonation")));
    assert!(!token.contains_key("idtyp"), "a user's token is no application's");
    assert!(emulated.running.state().verify(body["access_token"].as_str().unwrap()).is_ok());

    let bare = sent_by(&emulated, ALICE, json!({"audience": ORDERS_API})).await;
    assert_eq!(emulated.token(on_behalf_of(&bare)).await.0, 200);
    let refused = [
        (sent_by(&emulated, ALICE, json!({"audience": "database"})).await, 50013),
        (sent_by(&emulated, ALICE, json!({"audience": "api://11111111-0000-0000-0000-000000000006"})).await, 50013),
        (sent_by(&emulated, ALICE, json!({"forged": true})).await, 50013),
        (sent_by(&emulated, ALICE, json!({"tenant_id": "88888888-0000-0000-0000-000000000008"})).await, 50013),
        (sent_by(&emulated, ALICE, json!({"lifetime_s": -1, "not_before_s": -60})).await, 500133),
        (sent_by(&emulated, ALICE, json!({"claims": {"oid": "gone"}})).await, 50034),
        (sent_by(&emulated, "no-role-api", json!({})).await, 7000114),
        (json!("no token"), 50027),
    ];
    for (index, (assertion, code)) in refused.iter().enumerate() {
        let (status, body) = emulated.token(on_behalf_of(assertion)).await;
        assert_eq!((status, &body["error_codes"]), (400, &json!([code])), "{index}: {body}");
    }
    for (changes, status, code) in [
        (json!({"client_secret": "wrong"}), 401, 7000215),
        (json!({"requested_token_use": null}), 400, 900144),
        (json!({"assertion": null}), 400, 900144),
        (json!({"scope": "https://nowhere.example/.default"}), 400, 500011),
    ] {
        let (got, body) = emulated.token(with(&on_behalf_of(&alices), &changes)).await;
        assert_eq!((got, &body["error_codes"]), (status, &json!([code])), "{changes}");
    }
}

#[tokio::test]
async fn on_behalf_of_user_without_mfa_gets_a_claims_challenge() {
    let emulated = Emulated::start().await;
    let carol = json!({"name": "carol@contoso.example", "kind": "user", "requires_mfa": true, "role": false});
    emulated.set("POST", "/principals", carol).await;
    let weak = sent_by(&emulated, "carol@contoso.example", json!({})).await;
    let (status, body) = emulated.token(on_behalf_of(&weak)).await;
    assert_eq!((status, &body["error"], &body["error_codes"]), (400, &json!("interaction_required"), &json!([50076])));
    let challenge: Value = serde_json::from_str(body["claims"].as_str().unwrap()).unwrap();
    assert!(challenge["access_token"]["capolids"]["values"].is_array());
    let strong = sent_by(&emulated, "carol@contoso.example", json!({"claims": {"amr": ["pwd", "mfa"]}})).await;
    assert_eq!(emulated.token(on_behalf_of(&strong)).await.0, 200);
}

#[tokio::test]
async fn on_behalf_of_token_logs_in_as_the_user() {
    let running = Emulator::builder().postgres(Postgres::Own).start().await.unwrap();
    let client = common::client_trusting(&running.addresses().ca_file);
    let emulated = Emulated { running, client };
    let alices = sent_by(&emulated, ALICE, json!({})).await;
    let (_, body) = emulated.token(on_behalf_of(&alices)).await;

    let addresses = emulated.addresses();
    let port = addresses.postgres.as_ref().unwrap().port;
    let token = body["access_token"].as_str().unwrap();
    let log_in = |role| common::log_in(port, &addresses.ca_file, role, token);
    let client = log_in(ALICE).await.unwrap_or_else(|error| panic!("{error:?}"));
    assert_eq!(common::current_user(&client).await, ALICE);
    assert!(log_in("orders-api").await.is_err(), "the application's own role is not the user's");
    assert!(log_in("db-readers").await.is_ok(), "a member of the group");
    drop(client);
    emulated.running.stop().await;
}

#[tokio::test]
async fn azure_pipelines_task_gets_a_federated_token() {
    let emulated = Emulated::start().await;
    let task = &emulated.addresses().hosts["azure_pipelines"];
    let (uri, token) = (&task["SYSTEM_OIDCREQUESTURI"], format!("Bearer {}", task["SYSTEM_ACCESSTOKEN"]));
    let connection = "55555555-0000-0000-0000-000000000001";
    let ask = async |authorization: &str, suppress: bool, id: &str, version: &str| {
        let query = [("api-version", version), ("serviceConnectionId", id)];
        let mut request = emulated.client.post(uri).query(&query).header("authorization", authorization);
        if suppress {
            request = request.header("X-TFS-FedAuthRedirect", "Suppress");
        }
        common::response_of(request.send().await.unwrap()).await
    };
    let (status, body) = ask(&token, true, connection, "7.1").await;
    assert_eq!(status, 200, "{body}");
    for (authorization, suppress, id, version, status) in [
        ("Bearer wrong", true, connection, "7.1", 401),
        ("", true, connection, "7.1", 401),
        (&token, true, "unknown", "7.1", 404),
        (&token, true, connection, "1.0", 400),
    ] {
        assert_eq!(ask(authorization, suppress, id, version).await.0, status);
    }
    let redirected = emulated.client.post(uri).header("authorization", "Bearer wrong");
    let no_redirects = reqwest::Client::builder()
        .tls_backend_preconfigured(trusting(&emulated.addresses().ca_file))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap();
    assert_eq!(no_redirects.execute(redirected.build().unwrap()).await.unwrap().status(), 302);

    let subject = "sc://contoso/shop/orders-api";
    let issuer = claims(&body["oidcToken"])["iss"].clone();
    assert_eq!(claims(&body["oidcToken"])["sub"], subject);
    let assertion = body["oidcToken"].as_str().unwrap();
    for (credential, code) in [
        (json!({"issuer": issuer, "subject": subject}), Value::Null),
        (json!({"issuer": issuer, "subject": "sc://contoso/shop/another"}), json!(700213)),
        (json!({"issuer": "https://vstoken.dev.azure.com/another", "subject": subject}), json!(700211)),
        (json!({"issuer": issuer, "subject": subject, "audience": "api://another"}), json!(700212)),
    ] {
        register(&emulated, json!({"federated_credentials": [credential]})).await;
        let (_, body) = by_assertion(&emulated, assertion).await;
        assert_eq!(body["error_codes"][0], code, "{body}");
    }
}

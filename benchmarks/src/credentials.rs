//! What credentials take besides the login that is always measured: other scopes, signing, users. Ours alone: the peer has
//! no certificate without OpenSSL, and has no on-behalf-of flow.

use std::{
    hint::black_box,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use pgentra::{
    CachedCredential, CredentialConfig,
    config::Environment,
    credential::{FetchContext, TokenRequest},
    testing::{BuildContext, BuildInputs, Response, Transport, build},
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    Outcome,
    contestant::{SCOPE, Surroundings},
};

const WARM_CALLS: u32 = 1_000_000;
const SIGNATURES: u32 = 500;
const USERS: usize = 10_000;

fn each(time: Duration, calls: u32) -> f64 {
    time.as_secs_f64() * 1e9 / f64::from(calls)
}

/// Nanoseconds of a warm token for the database, and for another resource.
pub async fn scope() -> Outcome<Value> {
    let surroundings = Surroundings::read()?;
    let credential = surroundings.credential(&json!({"type": "client_secret"}))?;
    let run = async |scope: &str| -> Outcome<f64> {
        let request = TokenRequest::new(scope);
        credential.start_token(&request, None).await?;
        for _ in 0..WARM_CALLS / 10 {
            black_box(credential.try_token(&request).ok_or("not cached")??);
        }
        let started = Instant::now();
        for _ in 0..WARM_CALLS {
            black_box(credential.try_token(&request).ok_or("not cached")??);
        }
        Ok(each(started.elapsed(), WARM_CALLS))
    };
    let database = run(SCOPE).await?;
    Ok(json!({"ns": run("https://vault.azure.net/.default").await?, "ns_of_database": database}))
}

/// Measures the milliseconds of a fetch by certificate (RSA 2048) with an immediate response: the assertion's cost.
pub async fn sign() -> Outcome<Value> {
    let answer = json!({"access_token": "t", "expires_in": 3600}).to_string();
    let environment = Environment::new();
    let inputs = BuildInputs::new(&environment);
    let context = BuildContext::new(&inputs).with_transport(Transport::canned(move |_| {
        Box::pin(std::future::ready(Ok(Response::new(200, &[], answer.clone()))))
    }));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/certificates/app.pem");
    let document = json!({
        "type": "client_certificate", "tenant_id": "t", "client_id": "c", "certificate_path": file.to_str(),
    });
    let credential = build(&CredentialConfig::from_value(document)?, &context)?;
    let request = TokenRequest::new(SCOPE);
    credential.fetch(&request, FetchContext::default()).await?;
    let started = Instant::now();
    for _ in 0..SIGNATURES {
        black_box(credential.fetch(&request, FetchContext::default()).await?);
    }
    Ok(json!({"ms": each(started.elapsed(), SIGNATURES) / 1e6}))
}

/// Microseconds of a warm token among ten thousand users: of a credential that is kept, and of one that is made anew for
/// each request that a service serves.
pub async fn users() -> Outcome<Value> {
    let surroundings = Arc::new(Surroundings::read()?);
    let client = reqwest::Client::builder().no_proxy().build()?;
    let mut joining = JoinSet::new();
    let mut users = Vec::with_capacity(USERS);
    for number in 0..USERS {
        let (surroundings, client) = (Arc::clone(&surroundings), client.clone());
        joining.spawn(async move { User::join(&surroundings, &client, number).await });
        if joining.len() >= 16 {
            users.extend(joining.join_next().await.transpose()?.transpose()?);
        }
    }
    users.extend(joining.join_all().await.into_iter().collect::<Outcome<Vec<_>>>()?);

    let request = TokenRequest::new(SCOPE);
    // Far from each other in memory, as users come.
    let order: Vec<&User> = (0..USERS).map(|index| &users[index * 7919 % USERS]).collect();
    let calls = u32::try_from(10 * USERS)?;
    let started = Instant::now();
    for user in order.iter().cycle().take(10 * USERS) {
        black_box(user.credential.try_token(&request).ok_or("not cached")??);
    }
    let kept = each(started.elapsed(), calls) / 1e3;
    let started = Instant::now();
    for user in &order {
        let credential = surroundings.on_behalf_of(&user.assertion)?;
        black_box(credential.try_token(&request).ok_or("not cached")??);
    }
    Ok(json!({"us": kept, "us_anew": each(started.elapsed(), u32::try_from(USERS)?) / 1e3}))
}

struct User {
    assertion: String,
    credential: Arc<CachedCredential>,
}

impl User {
    /// A user's token that the application has exchanged once.
    async fn join(surroundings: &Surroundings, client: &reqwest::Client, number: usize) -> Outcome<User> {
        let minted = json!({
            "principal": "alice@contoso.example", "audience": surroundings.client_id, "claims": {"number": number},
        });
        let answer = client.post(format!("{}/mint", surroundings.control)).body(minted.to_string()).send().await?;
        let answer: Value = serde_json::from_slice(&answer.bytes().await?)?;
        let assertion = answer["token"].as_str().ok_or("no token was minted")?.to_owned();
        let credential = surroundings.on_behalf_of(&assertion)?;
        credential.start_token(&TokenRequest::new(SCOPE), None).await?;
        Ok(User { assertion, credential })
    }
}

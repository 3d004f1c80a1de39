//! `credentials/*.json` and `entra-errors.json`: the requests of each credential, and its results for the responses.
//! Time is virtual, except in cases that run a tool. A difference from a case panics.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use pgentra::{
    CredentialConfig, Error, ErrorKind, Result,
    config::Environment,
    credential::{Credential, FetchContext, FetchedToken, TokenRequest},
    testing::{Authorities, BuildContext, BuildInputs, Method, Request, Response, Transport, Trust},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A marker in every secret and token of the vectors. Errors must not contain it.
const CANARY: &str = "canary";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    credential: Value,
    #[serde(default)]
    environment: Environment,
    /// Files to write, by name; `{dir}` is replaced by their folder everywhere. `{text:NAME}` and `{base64:NAME}` are
    /// replaced by the content of a file of `tests/vectors/certificates`, `{certificate:NAME#n}` by its n-th
    /// certificate, as base64.
    #[serde(default)]
    files: BTreeMap<String, Content>,
    /// Executables in `{dir}/bin`, by name.
    #[serde(default)]
    tools: BTreeMap<String, Tool>,
    #[serde(default)]
    request: Option<Value>,
    #[serde(default)]
    has_fallback: bool,
    #[serde(default)]
    exchanges: Vec<Exchange>,
    /// The arguments that the tools are run with.
    #[serde(default)]
    runs: Vec<Vec<String>>,
    #[serde(default)]
    token: Option<Value>,
    #[serde(default)]
    error: Option<ExpectedError>,
    /// Whether building fails, and not the token request.
    #[serde(default)]
    build_error: Option<ExpectedError>,
    /// The duration: at least, at most; in virtual seconds.
    #[serde(default)]
    seconds: Option<(f64, f64)>,
    /// The number of token requests, each with the same result. Default: once.
    #[serde(default)]
    fetches: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorCase {
    name: String,
    response: Canned,
    error: ExpectedError,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tool {
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
    #[serde(default)]
    exit: i32,
}

/// The content of a file.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Content {
    Text(String),
    /// The content of the file of this name in `tests/vectors/certificates`.
    Fixture {
        fixture: String,
    },
    /// This number of zero bytes.
    Zeros {
        zeros: usize,
    },
}

impl Content {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Content::Text(text) => text.clone().into_bytes(),
            Content::Fixture { fixture } => certificates(fixture),
            Content::Zeros { zeros } => vec![0; *zeros],
        }
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    request: ExpectedRequest,
    #[serde(default)]
    response: Option<Canned>,
    /// The failure: `network`, or `silence` for no response.
    #[serde(default)]
    failure: Option<String>,
    /// The number of times that the exchange occurs. Default: once.
    #[serde(default = "once")]
    times: usize,
}

fn once() -> usize {
    1
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedRequest {
    method: String,
    url: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// A text, or an assertion signed by a certificate.
    #[serde(default)]
    form: BTreeMap<String, Field>,
    proxy: bool,
    /// How the server's certificate is verified, if not by its host name and the usual certificate authorities.
    #[serde(default)]
    trust: Option<String>,
    #[serde(default)]
    timeout: Option<f64>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(untagged)]
enum Field {
    Text(String),
    Signed(SignedAssertion),
}

/// A JWT with exactly these members, and any `jti`; `nbf` and `exp` are seconds from now.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct SignedAssertion {
    /// The file with the certificate, and after `#` the number of the certificate in it (the first, if left out).
    signed_by: String,
    header: Value,
    claims: Value,
}

impl SignedAssertion {
    fn check(&self, name: &str, jwt: &str) {
        let (signed, signature) = jwt.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let part = |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
        let (header, mut claims) = (part(header), part(claims));
        assert_eq!(header, self.header, "{name}: header of the assertion");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs().cast_signed();
        for moment in ["nbf", "exp"] {
            let offset = self.claims[moment].as_i64().unwrap();
            let left = claims[moment].as_i64().unwrap() - now;
            assert!((left - offset).abs() <= 30, "{name}: `{moment}` is {left} s from now");
            claims[moment] = offset.into();
        }
        let id = claims.as_object_mut().unwrap().remove("jti").unwrap();
        assert_eq!(id.as_str().unwrap().len(), 36, "{name}: {id} is no UUID");
        assert_eq!(claims, self.claims, "{name}: claims of the assertion");
        let der = STANDARD.decode(certificate(&self.signed_by)).unwrap();
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
        let key = &certificate.public_key().subject_public_key.data;
        ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PSS_2048_8192_SHA256, key)
            .verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap())
            .unwrap_or_else(|_| panic!("{name}: the assertion is not signed by {}", self.signed_by));
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Canned {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// JSON, or a text that is sent as it is.
    #[serde(default)]
    body: Value,
    /// The number of times that the text is repeated in the body.
    #[serde(default)]
    repeated: Option<(String, usize)>,
    /// The `Date` header, as seconds from now.
    #[serde(default)]
    date_offset: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectedError {
    kind: String,
    #[serde(default)]
    definite: bool,
    #[serde(default)]
    aadsts: Option<u32>,
    /// Parts of the error's text.
    #[serde(default)]
    text: Vec<String>,
    /// Members of its detail.
    #[serde(default)]
    detail: serde_json::Map<String, Value>,
    /// Credential and kind of each earlier attempt.
    #[serde(default)]
    attempts: Vec<(String, String)>,
}

impl Canned {
    fn response(&self) -> Response {
        let date = self.date_offset.map(|offset| {
            let now = std::time::SystemTime::now();
            let shift = std::time::Duration::from_secs(offset.unsigned_abs());
            httpdate::fmt_http_date(if offset < 0 { now - shift } else { now + shift })
        });
        let mut headers: Vec<(&str, &str)> = self.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        headers.extend(date.as_deref().map(|date| ("date", date)));
        let body = match (&self.repeated, &self.body) {
            (Some((text, times)), _) => text.repeat(*times),
            (_, Value::String(text)) => text.clone(),
            (_, Value::Null) => String::new(),
            (_, body) => body.to_string(),
        };
        Response::new(self.status, &headers, body)
    }
}

fn certificates(name: &str) -> Vec<u8> {
    let path = crate::folder().join("certificates").join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the base64 of a certificate in a PEM file: `NAME` or `NAME#n`.
fn certificate(name: &str) -> String {
    let (file, index) = name.split_once('#').unwrap_or((name, "0"));
    let text = String::from_utf8(certificates(file)).unwrap();
    let block = text.split("-----BEGIN CERTIFICATE-----").nth(1 + index.parse::<usize>().unwrap()).unwrap();
    block.split("-----END").next().unwrap().split_whitespace().collect()
}

/// Replaces `{text:…}` and similar placeholders.
fn filled_in(mut text: String) -> String {
    for kind in ["text", "base64", "certificate"] {
        let start = format!("{{{kind}:");
        while let Some(at) = text.find(&start) {
            let end = at + text[at..].find('}').unwrap();
            let name = &text[at + start.len()..end];
            let content = match kind {
                "text" => {
                    json!(String::from_utf8(certificates(name)).unwrap()).to_string().trim_matches('"').to_owned()
                }
                "base64" => STANDARD.encode(certificates(name)),
                _ => certificate(name),
            };
            text.replace_range(at..=end, &content);
        }
    }
    text
}

fn seen(request: &Request) -> Value {
    let pairs = |pairs: &[(&'static str, pgentra::Secret)]| {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), Value::from(value.expose())))
            .collect::<serde_json::Map<_, _>>()
    };
    assert!(request.form.is_empty() || request.method == Method::Post);
    json!({
        "method": match request.method { Method::Get => "GET", Method::Post => "POST" },
        "url": request.url,
        "headers": pairs(&request.headers),
        "form": pairs(&request.form),
        "proxy": request.proxy,
        "trust": request.trust.as_deref().map(described),
    })
}

fn described(trust: &Trust) -> String {
    match trust {
        Trust::Thumbprint(bytes) => {
            format!("thumbprint {}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
        }
        Trust::Private { authorities, server_name, host } => {
            let mut text = format!("host {host}");
            if let Some(name) = server_name {
                text.push_str(&format!(", name {name}"));
            }
            match authorities {
                Some(Authorities::File(path)) => text.push_str(&format!(", authorities of {}", path.display())),
                Some(Authorities::Pem(_)) => text.push_str(", authorities given"),
                None => {}
            }
            text
        }
    }
}

fn wanted(expected: &ExpectedRequest) -> Value {
    json!({
        "method": expected.method,
        "url": expected.url,
        "headers": expected.headers,
        "form": expected.form,
        "proxy": expected.proxy,
        "trust": expected.trust,
    })
}

/// Returns a transport that responds from the list, and the list of unexpected requests.
fn canned(name: &str, exchanges: Vec<Exchange>) -> (Transport, Arc<Mutex<Vec<Exchange>>>) {
    let expanded = exchanges.into_iter().flat_map(|exchange| {
        let times = exchange.times;
        std::iter::repeat_n(exchange, times)
    });
    let left = Arc::new(Mutex::new(expanded.collect::<Vec<_>>()));
    let (queue, name) = (Arc::clone(&left), name.to_owned());
    let transport = Transport::canned(move |request| {
        let mut queue = queue.lock().unwrap();
        assert!(!queue.is_empty(), "{name}: unexpected request {}", seen(&request));
        let exchange = queue.remove(0);
        let mut came = seen(&request);
        for (field, value) in &exchange.request.form {
            if let Field::Signed(assertion) = value {
                assertion.check(&name, came["form"][field].as_str().unwrap_or_default());
                came["form"][field] = json!(assertion);
            }
        }
        assert_eq!(came, wanted(&exchange.request), "{name}");
        if let Some(timeout) = exchange.request.timeout {
            assert_eq!(request.timeout.as_secs_f64(), timeout, "{name}: time limit");
        }
        match (exchange.response, exchange.failure.as_deref()) {
            (Some(canned), None) => Box::pin(std::future::ready(Ok(canned.response()))),
            (None, Some("network")) => Box::pin(std::future::ready(Err(Error::new(
                ErrorKind::Network,
                "cannot connect to host:443: connection refused",
            )))),
            (None, Some("silence")) => Box::pin(std::future::pending()),
            _ => panic!("{name}: an exchange needs either a response or a failure"),
        }
    });
    (transport, left)
}

fn check_error(name: &str, error: &Error, expected: &ExpectedError) {
    let text = error.to_string();
    assert_eq!(error.code(), expected.kind, "{name}: {text}");
    assert_eq!(error.is_definite(), expected.definite, "{name}: definite, {text}");
    assert_eq!(error.aadsts(), expected.aadsts, "{name}: {text}");
    for part in &expected.text {
        assert!(text.contains(part), "{name}: {part:?} is not in {text:?}");
    }
    let detail = error.detail();
    for (key, value) in &expected.detail {
        assert_eq!(detail.get(key).unwrap_or(&Value::Null), value, "{name}: detail `{key}`");
    }
    let attempts: Vec<(String, String)> = error
        .attempts()
        .iter()
        .map(|attempt| (attempt.credential().unwrap_or_default().to_owned(), attempt.code().to_owned()))
        .collect();
    assert_eq!(attempts, expected.attempts, "{name}: attempts of {text}");
    // An error in the document itself is reported with its key.
    assert!(error.credential().is_some() || text.starts_with("option `"), "{name}: names no credential: {text}");
    assert!(!text.lines().next().unwrap_or_default().trim().is_empty(), "{name}");
    for shown in [text, format!("{error:?}"), detail.to_string()] {
        assert!(!shown.to_ascii_lowercase().contains(CANARY), "{name}: shows a secret: {shown}");
        assert!(shown.len() < 8192, "{name}: {} characters", shown.len());
    }
}

/// Returns a token in the format of the files.
pub fn shown(token: &FetchedToken) -> Value {
    json!({
        "token": token.token.expose(),
        "expires_on": token.expires_on,
        "expires_in": token.expires_in,
        "refresh_in": token.refresh_in,
    })
}

fn check_token(name: &str, token: &FetchedToken, expected: &Value) {
    let seen = shown(token);
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&seen[key], value, "{name}: `{key}` of the token");
    }
    assert!(!format!("{token:?}").contains(CANARY), "{name}: Debug shows the token");
}

#[cfg(unix)]
fn write_tool(folder: &Path, name: &str, tool: &Tool) {
    use std::os::unix::fs::PermissionsExt;
    let quoted = |text: &str| format!("'{}'", text.replace('\'', r"'\''"));
    let script = format!(
        "#!/bin/sh\nfor argument in \"$@\"; do printf '%s\\037' \"$argument\" >> {runs}; done\nprintf '\\n' >> {runs}\n\
         printf %s {out}\nprintf %s {err} >&2\nexit {exit}\n",
        runs = quoted(&folder.join("runs").display().to_string()),
        out = quoted(&tool.stdout),
        err = quoted(&tool.stderr),
        exit = tool.exit,
    );
    let path = folder.join("bin").join(name);
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn runs(folder: &Path) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(folder.join("runs")).unwrap_or_default();
    text.lines().map(|line| decoded(line.split_terminator('\u{1f}').map(str::to_owned).collect())).collect()
}

/// Returns the arguments, with only the first line of a script for PowerShell.
fn decoded(mut arguments: Vec<String>) -> Vec<String> {
    if let [.., option, script] = &mut *arguments
        && option == "-EncodedCommand"
    {
        let bytes = STANDARD.decode(&script).unwrap();
        let units: Vec<u16> = bytes.chunks(2).map(|pair| u16::from_le_bytes([pair[0], pair[1]])).collect();
        *script = String::from_utf16(&units).unwrap().lines().next().unwrap().to_owned();
    }
    arguments
}

/// Runs a case and returns the token, or the first error.
///
/// `case` is its text in the file, with the path of `folder` for `{dir}`. The files of the case are written there.
///
/// # Panics
/// Panics if the credential sends a request, runs a command or takes a time other than the case specifies.
pub fn fetch(case: &str, folder: &Path) -> Result<FetchedToken> {
    let mut case = read(case);
    let name = std::mem::take(&mut case.name);
    // A file that is being written while another thread starts a process cannot be run.
    static TOOLS: Mutex<()> = Mutex::new(());
    let _turn = (!case.tools.is_empty()).then(|| TOOLS.lock().unwrap_or_else(PoisonError::into_inner));
    std::fs::create_dir_all(folder.join("bin")).unwrap();
    for (file, content) in &case.files {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content.bytes()).unwrap();
    }
    for (tool, script) in &case.tools {
        write_tool(folder, tool, script);
    }
    // The folder is empty, so that a tool of this machine is not found.
    case.environment.entry("PATH".to_owned()).or_insert_with(|| folder.join("bin").display().to_string().into());
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(case.tools.is_empty()).build().unwrap();
    let (transport, left) = canned(&name, std::mem::take(&mut case.exchanges));
    let built = build(case.credential.clone(), case.environment.clone(), transport);
    let credential = match (built, &case.build_error) {
        (Ok(credential), None) => credential,
        (Err(error), Some(_)) => return Err(error),
        (Ok(_), Some(_)) => panic!("{name}: was built"),
        (Err(error), None) => panic!("{name}: was not built: {error}"),
    };
    let request = request_of(case.request.as_ref());
    let outcome = runtime.block_on(async {
        let mut outcomes = Vec::new();
        for _ in 0..case.fetches.unwrap_or(1) {
            let started = tokio::time::Instant::now();
            let context = FetchContext { has_fallback: case.has_fallback, ..FetchContext::default() };
            let outcome = credential.fetch(&request, context).await;
            outcomes.push(outcome.map_err(|error| error.for_credential(credential.name())));
            let took = started.elapsed();
            assert!(took <= credential.bound(), "{name}: {took:?} is over its bound");
            if let Some((least, most)) = case.seconds {
                let took = took.as_secs_f64();
                assert!((least..=most).contains(&took), "{name}: took {took} s");
            }
        }
        let told = |outcome: &Result<FetchedToken>| match outcome {
            Ok(token) => shown(token).to_string(),
            Err(error) => error.to_string(),
        };
        let last = outcomes.pop().unwrap();
        assert!(outcomes.iter().all(|one| told(one) == told(&last)), "{name}: the outcome changes");
        last
    });
    let unasked: Vec<Value> = left.lock().unwrap().iter().map(|exchange| wanted(&exchange.request)).collect();
    assert!(unasked.is_empty(), "{name}: not sent: {unasked:?}");
    assert_eq!(runs(folder), case.runs, "{name}: runs of tools");
    outcome
}

fn read(case: &str) -> Case {
    serde_json::from_str(&filled_in(case.to_owned())).unwrap_or_else(|error| panic!("{error}: {case}"))
}

fn build(document: Value, environment: Environment, transport: Transport) -> Result<Arc<dyn Credential>> {
    let inputs = BuildInputs::new(&environment);
    let context = BuildContext::new(&inputs).with_transport(transport);
    CredentialConfig::from_value(document).and_then(|config| pgentra::testing::build(&config, &context))
}

/// Returns the error for a response in `entra-errors.json`.
///
/// # Panics
/// Panics if the response does not become an error.
pub fn refuse(case: &str) -> Error {
    let case: ErrorCase = serde_json::from_str(case).unwrap_or_else(|error| panic!("{error}: {case}"));
    let transport = Transport::canned(move |_| Box::pin(std::future::ready(Ok(case.response.response()))));
    let document = json!({
        "type": "client_secret", "tenant_id": "contoso.com", "client_id": "c1", "client_secret": "Canary&secret=1",
    });
    let credential = build(document, Environment::default(), transport).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let context = FetchContext { has_fallback: true, ..FetchContext::default() };
    let outcome = runtime.block_on(credential.fetch(&TokenRequest::new("https://r/.default"), context));
    let error = outcome.err().unwrap_or_else(|| panic!("{}: brought a token", case.name));
    error.for_credential(credential.name())
}

/// Compares the result of a case with the expected one.
///
/// # Panics
/// Panics if they differ, or if a text contains a secret.
pub fn check(case: &str, outcome: &Result<FetchedToken>) {
    let case = read(case);
    let name = &case.name;
    match (outcome, &case.token, case.build_error.as_ref().or(case.error.as_ref())) {
        (Ok(token), Some(expected), None) => check_token(name, token, expected),
        (Err(error), None, Some(expected)) => check_error(name, error, expected),
        (Ok(_), ..) => panic!("{name}: brought a token"),
        (Err(error), ..) => panic!("{name}: {error}"),
    }
}

/// Does the same for a response in `entra-errors.json`.
///
/// # Panics
/// Panics as [`check`] does.
pub fn check_refusal(case: &str, error: &Error) {
    let case: ErrorCase = serde_json::from_str(case).unwrap_or_else(|error| panic!("{error}: {case}"));
    check_error(&case.name, error, &case.error);
}

fn request_of(document: Option<&Value>) -> TokenRequest {
    let text = |key: &str| document.and_then(|document| document.get(key)?.as_str()).map(str::to_owned);
    TokenRequest {
        scope: text("scope").unwrap_or_else(|| "https://ossrdbms-aad.database.windows.net/.default".to_owned()),
        tenant_id: text("tenant_id"),
        claims: text("claims"),
        enable_cae: document.and_then(|document| document.get("enable_cae")?.as_bool()).unwrap_or(false),
    }
}

//! `pgentra serve`: gives tokens to other processes of this machine, by App Service's protocol for managed identities,
//! which every Azure SDK supports.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::Command, sync::Arc};

use clap::Args;
use hyper::{Method, Request, body::Incoming};
use pgentra::{CachedCredential, Token, TokenRequest, bindings::cloud::resource_of, postgres::role_name::Principal};
use serde_json::json;
use tokio::net::TcpListener;
use zeroize::Zeroizing;

use crate::{
    child,
    connection::Connection,
    exec::not_started,
    failure::{Exit, Failure, Result},
    http::{self, Reply},
    log,
    managed_file::{Access, Kind, ManagedFile},
    options::{ConnectionOptions, CredentialOptions, OutputOptions},
    output,
};

/// The path and the version of the protocol.
const PATH: &str = "/msi/token";
const API_VERSION: &str = "2019-08-01";

/// The header with the secret.
const HEADER: &str = "x-identity-header";

/// The arguments of the command.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Address to listen at; port 0 is a free one
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Allow an address that is not loopback: tokens then cross the network unencrypted
    #[arg(long)]
    pub allow_insecure_transport: bool,
    /// Give tokens for this resource too; may be repeated [default: PostgreSQL and Azure Resource Manager only]
    #[arg(long, value_name = "URI", value_delimiter = ',')]
    pub resource: Vec<String>,
    /// Write IDENTITY_ENDPOINT and IDENTITY_HEADER to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// Run this program with both variables, and end with it
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub credential: CredentialOptions,
    #[command(flatten)]
    pub output: OutputOptions,
}

/// Runs the command, and returns the exit code.
///
/// # Errors
/// Fails if the address cannot be used.
pub fn run(arguments: &Arguments) -> Result<u8> {
    check_address(arguments)?;
    let connection = Connection::new(None, &ConnectionOptions::default(), &arguments.credential, None)?;
    child::runtime()?.block_on(serve(arguments, &connection))
}

/// Refuses addresses from which tokens would leave the machine, unless that is allowed for one interface.
fn check_address(arguments: &Arguments) -> Result<()> {
    let address = arguments.listen.ip().to_canonical();
    if address.is_loopback() {
        return Ok(());
    }
    if address.is_unspecified() {
        return Err(Failure::usage(
            format!("--listen {} is every interface of this machine", arguments.listen),
            "Pass the address of one interface, such as the one of the container network.",
        ));
    }
    if !arguments.allow_insecure_transport {
        return Err(Failure::new(
            Exit::Usage,
            "insecure_transport",
            format!("--listen {} is not loopback: tokens would cross the network unencrypted", arguments.listen),
            "Let the other process share this network namespace, or add --allow-insecure-transport.",
        ));
    }
    Ok(())
}

/// What the endpoint gives.
struct Endpoint {
    secret: Zeroizing<String>,
    /// The resources, each with the scope of its tokens.
    resources: Vec<(String, String)>,
    credential: Arc<CachedCredential>,
}

async fn serve(arguments: &Arguments, connection: &Connection) -> Result<u8> {
    let mut signals = child::Signals::listen()?;
    let what = format!("cannot listen at {}", arguments.listen);
    let listener = TcpListener::bind(arguments.listen).await.map_err(|error| Failure::io(&what, &error))?;
    let address = listener.local_addr().map_err(|error| Failure::io(&what, &error))?;
    let secret = Zeroizing::new(secret()?);
    let url = format!("http://{address}{PATH}");
    let management = connection.management_scope();
    let mut resources = vec![
        (normal(resource_of(&connection.scope)), connection.scope.clone()),
        (normal(resource_of(management)), management.to_owned()),
    ];
    resources.extend(arguments.resource.iter().map(|uri| (normal(uri), format!("{}/.default", resource_of(uri)))));
    let endpoint =
        Endpoint { secret: secret.clone(), resources, credential: Arc::clone(connection.provider.credential()) };
    let endpoint = Arc::new(endpoint);
    let serving = http::serve(listener, move |request| respond(Arc::clone(&endpoint), request));
    log::show_failed_fetches();
    let variables = [("IDENTITY_ENDPOINT", url.as_str()), ("IDENTITY_HEADER", secret.as_str())];
    let lines: String = variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    let lines = Zeroizing::new(lines);
    let mut file = None;
    if let Some(path) = &arguments.env_file {
        let mut written = ManagedFile::new(path, Kind::Variables, Access { mode: 0o600, group: None })?;
        written.write(&lines)?;
        file = Some(written);
    }
    let Some((program, words)) = arguments.command.split_first() else {
        match (arguments.output.json, &file) {
            (true, _) => output::print(
                &json!({ "endpoint": url, "header": file.is_none().then_some(secret.as_str()) }).to_string(),
            )?,
            (false, None) => output::print(lines.trim_end())?,
            (false, Some(_)) => {}
        }
        tokio::select! {
            () = serving => {}
            _ = signals.next() => {}
        }
        return Ok(0);
    };
    let mut command = Command::new(program);
    command.args(words).envs(variables);
    let ended = child::run(command, &mut signals, serving).await;
    Ok(ended.unwrap_or_else(|error| not_started(program, &error, &arguments.output)))
}

/// Returns a random text.
fn secret() -> Result<String> {
    let mut bytes = [0; 32];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random
        .fill(&mut bytes)
        .map_err(|_| Failure::new(Exit::Failed, "internal", "the operating system returns no random numbers", ""))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Returns a resource in the form in which resources are compared.
fn normal(resource: &str) -> String {
    resource.trim_end_matches('/').to_ascii_lowercase()
}

async fn respond(endpoint: Arc<Endpoint>, request: Request<Incoming>) -> Reply {
    let given = request.headers().get(HEADER).map(|value| value.as_bytes());
    if request.method() != Method::GET {
        return refuse(405, "The method is not allowed.");
    }
    if request.uri().path().trim_end_matches('/') != PATH {
        return refuse(404, "There is no such path; the token's is /msi/token.");
    }
    if !given.is_some_and(|given| is_same(given, endpoint.secret.as_bytes())) {
        return refuse(401, "The header X-IDENTITY-HEADER is missing or wrong.");
    }
    let query: Vec<(String, String)> =
        form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes()).into_owned().collect();
    let value = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    if value("api-version") != Some(API_VERSION) {
        return refuse(400, "The api-version is not supported; use 2019-08-01.");
    }
    let Some(resource) = value("resource").filter(|resource| !resource.is_empty()) else {
        return refuse(400, "The parameter resource is required.");
    };
    let Some((_, scope)) = endpoint.resources.iter().find(|(allowed, _)| *allowed == normal(resource)) else {
        return refuse(403, "Tokens for this resource are not given; pgentra serve has the option --resource.");
    };
    let token = match endpoint.credential.start_token(&TokenRequest::new(scope.as_str()), None).await {
        Ok(token) => token,
        Err(error) => {
            let status = if error.is_transient() { 503 } else { 400 };
            return refuse(status, &format!("{} ({})", error.headline(), error.code()));
        }
    };
    let principal = token.claims().ok().map(|claims| claims.principal());
    if !selects(&query, principal.as_ref()) {
        return refuse(400, "Another identity is requested than the one that pgentra serve has; omit its id.");
    }
    granted(resource, &token, principal.as_ref())
}

/// Returns whether the request names no identity, or this one.
fn selects(query: &[(String, String)], principal: Option<&Principal>) -> bool {
    query.iter().all(|(key, id)| {
        let own = match key.as_str() {
            "client_id" | "clientid" => principal.and_then(|principal| principal.appid.as_deref()),
            "object_id" | "principal_id" => principal.and_then(|principal| principal.oid.as_deref()),
            "mi_res_id" | "msi_res_id" => None,
            _ => return true,
        };
        own.is_some_and(|own| own.eq_ignore_ascii_case(id))
    })
}

fn granted(resource: &str, token: &Token, principal: Option<&Principal>) -> Reply {
    http::json(
        200,
        &json!({
            "access_token": token.secret(),
            "expires_on": token.expires_on().to_string(),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": principal.and_then(|principal| principal.appid.as_deref()),
        }),
    )
}

fn refuse(status: u16, message: &str) -> Reply {
    http::json(status, &json!({ "statusCode": status, "message": message }))
}

/// Compares the digests, so that the time does not depend on the number of equal bytes.
fn is_same(given: &[u8], secret: &[u8]) -> bool {
    let digest = |bytes: &[u8]| ring::digest::digest(&ring::digest::SHA256, bytes);
    digest(given).as_ref() == digest(secret).as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_address_refuses_what_leaves_the_machine() {
        let check = |listen: &str, allow: bool| {
            check_address(&Arguments {
                listen: listen.parse().expect("an address"),
                allow_insecure_transport: allow,
                resource: Vec::new(),
                env_file: None,
                command: Vec::new(),
                credential: CredentialOptions::default(),
                output: OutputOptions::default(),
            })
            .is_ok()
        };
        assert!(check("127.0.0.1:0", false) && check("[::1]:0", false) && check("[::ffff:127.0.0.1]:0", false));
        assert!(!check("10.0.0.1:0", false) && check("10.0.0.1:0", true));
        for wildcard in ["0.0.0.0:0", "[::]:0", "[::ffff:0.0.0.0]:0"] {
            assert!(!check(wildcard, true), "{wildcard}");
        }
    }

    #[test]
    fn selects_compares_ids_of_the_identity() {
        let query = |text: &str| form_urlencoded::parse(text.as_bytes()).into_owned().collect::<Vec<_>>();
        assert!(selects(&query("resource=r"), None));
        for text in ["client_id=c", "object_id=o", "mi_res_id=/r"] {
            assert!(!selects(&query(text), None), "{text}");
        }
    }
}

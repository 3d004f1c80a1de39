//! The proxy variables, with the same meaning as in other tools.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Client, Proxy, Url};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use zeroize::Zeroizing;

use crate::{
    config::BuildInputs,
    error::{Error, ErrorKind, Result},
    percent_encoding,
    secret::Secret,
};

/// The time limit for the second tunnel request, whose refusal gives the status.
const STATUS_TIMEOUT: Duration = Duration::from_secs(3);

/// The maximum length of the response. A status line is shorter.
const MAX_STATUS: u64 = 1024;

/// A client that uses one proxy.
pub(super) struct Proxied {
    pub(super) client: Client,
    /// The variable with the proxy's address.
    pub(super) variable: &'static str,
    /// Its host and port.
    pub(super) endpoint: String,
    /// Whether the address contains a user or a password.
    pub(super) has_password: bool,
    /// Whether the connection to the proxy is plain HTTP.
    is_plain: bool,
    /// The value of `Proxy-Authorization`.
    authorization: Option<Secret>,
}

impl Proxied {
    /// Returns the status with which the proxy refuses a tunnel to `target`. This needs a second request, because the
    /// HTTP client reports only that the status was not 200 or 407.
    pub(super) async fn tunnel_status(&self, target: &str) -> Option<u16> {
        if !self.is_plain {
            return None;
        }
        let requested = async {
            let mut stream = TcpStream::connect(&self.endpoint).await.ok()?;
            let mut request = Zeroizing::new(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
            if let Some(authorization) = &self.authorization {
                request.push_str("Proxy-Authorization: ");
                request.push_str(authorization.expose());
                request.push_str("\r\n");
            }
            request.push_str("\r\n");
            stream.write_all(request.as_bytes()).await.ok()?;
            let mut line = Vec::new();
            let mut reader = stream.take(MAX_STATUS);
            while !line.contains(&b'\n') && reader.read_buf(&mut line).await.ok()? > 0 {}
            let line = String::from_utf8_lossy(&line).into_owned();
            let status = line.strip_prefix("HTTP/1.")?.split_whitespace().nth(1)?.parse().ok()?;
            // With another status the proxy would now open the tunnel; the status of the refusal is then unknown.
            (300..600).contains(&status).then_some(status)
        };
        tokio::time::timeout(STATUS_TIMEOUT, requested).await.ok().flatten()
    }
}

/// The values of the proxy variables. Of two spellings, the lower-case one is used.
pub(super) struct ProxySettings {
    http: Option<(&'static str, Secret)>,
    https: Option<(&'static str, Secret)>,
    no_proxy: String,
}

impl ProxySettings {
    /// Reads the variables. `HTTP_PROXY` is ignored if `REQUEST_METHOD` is set, because a client of a CGI script could
    /// then set it with a header.
    pub(super) fn new(inputs: &BuildInputs<'_>) -> ProxySettings {
        let is_cgi = inputs.is_set("REQUEST_METHOD");
        let first = |names: &[&'static str]| {
            names
                .iter()
                .filter(|name| !(is_cgi && **name == "HTTP_PROXY"))
                .find_map(|name| inputs.variable(name).map(|value| (*name, Secret::new(value))))
        };
        ProxySettings {
            http: first(&["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"]),
            https: first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            no_proxy: first(&["no_proxy", "NO_PROXY"]).map_or_else(String::new, |(_, value)| value.expose().to_owned()),
        }
    }
}

/// The rules that assign requests to proxies.
#[derive(Default)]
pub(super) struct ProxyRules {
    http: Option<Proxied>,
    https: Option<Proxied>,
    /// The entries of `NO_PROXY`, each for one port or for all ports.
    exceptions: Vec<(Option<u16>, Matcher)>,
}

impl ProxyRules {
    /// Builds the rules.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a variable that does not contain a usable proxy address.
    pub(super) fn new(settings: &ProxySettings, build: impl Fn(Proxy) -> Result<Client>) -> Result<ProxyRules> {
        let proxied = |setting: &Option<(&'static str, Secret)>| -> Result<Option<Proxied>> {
            setting
                .as_ref()
                .map(|(variable, value)| {
                    let (proxy, endpoint, url) = parse(variable, value.expose())?;
                    Ok(Proxied {
                        client: build(proxy)?,
                        variable,
                        endpoint,
                        has_password: !url.username().is_empty() || url.password().is_some(),
                        is_plain: url.scheme() == "http",
                        authorization: authorization(&url),
                    })
                })
                .transpose()
        };
        Ok(ProxyRules {
            http: proxied(&settings.http)?,
            https: proxied(&settings.https)?,
            exceptions: exceptions(&settings.no_proxy),
        })
    }

    /// Returns the proxy for an address, if any.
    pub(super) fn proxy_for(&self, url: &Url) -> Option<&Proxied> {
        let proxied = if url.scheme() == "https" { self.https.as_ref() } else { self.http.as_ref() }?;
        let is_excepted = || match url.as_str().parse() {
            Ok(uri) => self.exceptions.iter().any(|(port, matcher)| {
                (port.is_none() || *port == url.port_or_known_default()) && matcher.intercept(&uri).is_none()
            }),
            Err(_) => false,
        };
        (!is_loopback(url) && !is_excepted()).then_some(proxied)
    }
}

/// Parses `NO_PROXY`. The matcher supports hosts, domains and networks but not ports, so each port has one. It
/// intercepts addresses that are not listed.
fn exceptions(no_proxy: &str) -> Vec<(Option<u16>, Matcher)> {
    let mut by_port: BTreeMap<Option<u16>, Vec<&str>> = BTreeMap::new();
    // Commas are usual; some tools also accept whitespace. `*.domain` is often written for `.domain`.
    for entry in no_proxy.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty()) {
        let entry = if entry.starts_with("*.") { &entry[1..] } else { entry };
        let (host, port) = match entry.rsplit_once(':') {
            // An IPv6 address contains colons; with a port it is in brackets.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => match port.parse() {
                Ok(port) => (host, Some(port)),
                Err(_) => (entry, None),
            },
            _ => (entry, None),
        };
        by_port.entry(port).or_default().push(host.trim_start_matches('[').trim_end_matches(']'));
    }
    let matcher = |hosts: Vec<&str>| Matcher::builder().all("http://any").no(hosts.join(",")).build();
    by_port.into_iter().map(|(port, hosts)| (port, matcher(hosts))).collect()
}

/// Returns whether the address is this machine's own.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches([']', '.']);
    match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost"),
    }
}

/// Returns the value of `Proxy-Authorization`, built in the same way as the HTTP client does.
fn authorization(url: &Url) -> Option<Secret> {
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    let decoded = |text: &str| Zeroizing::new(percent_encoding::decode(text, true).unwrap_or_default());
    let (user, password) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
    let both = Zeroizing::new([user.as_slice(), b":", password.as_slice()].concat());
    Some(Secret::new(format!("Basic {}", STANDARD.encode(&*both))))
}

fn parse(variable: &'static str, value: &str) -> Result<(Proxy, String, Url)> {
    // A proxy's address can contain a password, so messages do not quote it.
    let refused = |why: &str| {
        Error::new(
            ErrorKind::InvalidConfiguration,
            format!(
                "the variable {variable} does not contain a usable proxy: \
                                                             {why}"
            ),
        )
        .with_advice("Write it as http://host:port, or unset it.")
    };
    let value = value.trim();
    let spelled_out = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    // User and password are before the last `@`. These characters end the host in an address, so a part of the password
    // would be read as the host.
    let address = spelled_out.split_once("://").map_or("", |(_, rest)| rest);
    if address.rsplit_once('@').is_some_and(|(user, _)| user.contains(['#', '/', '?', '\\'])) {
        return Err(refused("its user or password contains `#`, `/`, `?` or `\\`").with_advice(
            "Percent-encode user and password: `#` is %23, `/` is %2F, `?` is %3F, `\\` is %5C, `@` is %40.",
        ));
    }
    let url = Url::parse(&spelled_out).map_err(|e| refused(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h") {
        return Err(refused("its scheme is not http, https, socks4 or socks5"));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| refused("it has no host"))?;
    let default_port = if url.scheme().starts_with("socks") { 1080 } else { 80 };
    let endpoint = format!("{host}:{}", url.port_or_known_default().unwrap_or(default_port));
    let proxy = Proxy::all(url.clone()).map_err(|_| refused("it is not an address"))?;
    Ok((proxy, endpoint, url))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(variables: &[(&str, &str)]) -> Result<ProxyRules> {
        let environment = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let tls = crate::transport::roots::client_config(rustls::RootCertStore::empty())?;
        ProxyRules::new(&ProxySettings::new(&BuildInputs::new(&environment)), |proxy| {
            let client = Client::builder().tls_backend_preconfigured(tls.clone()).proxy(proxy).build();
            client.map_err(|_| Error::new(ErrorKind::Internal, "no client"))
        })
    }

    fn chosen(variables: &[(&str, &str)], url: &str) -> Option<String> {
        let rules = rules(variables).unwrap();
        rules.proxy_for(&Url::parse(url).unwrap()).map(|p| format!("{} {}", p.variable, p.endpoint))
    }

    #[test]
    fn proxy_rules_follow_the_variables() {
        let login = "https://login.microsoftonline.com/t/oauth2/v2.0/token";
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, Option<&'a str>);
        let table: &[Case] = &[
            (&[], login, None),
            (&[("HTTPS_PROXY", "")], login, None),
            (&[("HTTPS_PROXY", "http://u:p@proxy:3128")], login, Some("HTTPS_PROXY proxy:3128")),
            (&[("HTTPS_PROXY", "proxy:3128")], login, Some("HTTPS_PROXY proxy:3128")),
            (&[("HTTPS_PROXY", "http://a:1"), ("https_proxy", "http://b:2")], login, Some("https_proxy b:2")),
            (&[("ALL_PROXY", "socks5://s")], login, Some("ALL_PROXY s:1080")),
            (&[("HTTP_PROXY", "http://a:1")], login, None),
            (&[("HTTP_PROXY", "http://a:1")], "http://host/", Some("HTTP_PROXY a:1")),
            (&[("HTTP_PROXY", "http://a:1"), ("REQUEST_METHOD", "GET")], "http://host/", None),
            (&[("http_proxy", "http://a:1"), ("REQUEST_METHOD", "GET")], "http://host/", Some("http_proxy a:1")),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "x.org, .microsoftonline.com")], login, None),
            (&[("HTTPS_PROXY", "http://a:1"), ("no_proxy", "*")], login, None),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "*.microsoftonline.com")], login, None),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "x.org *.microsoftonline.com\ty.org")], login, None),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "*.example:8443")], "https://h.example:8443/", None),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "*.online.com")], login, Some("HTTPS_PROXY a:1")),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "10.0.0.0/8")], "https://10.1.2.3/", None),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "online.com")], login, Some("HTTPS_PROXY a:1")),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "login.microsoftonline.com:443")], login, None),
            (
                &[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "login.microsoftonline.com:8443, x.org")],
                login,
                Some("HTTPS_PROXY a:1"),
            ),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "x.org:1,.example:8443")], "https://h.example:8443/", None),
            (
                &[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", ".example:8443")],
                "https://h.example/",
                Some("HTTPS_PROXY a:1"),
            ),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "10.1.2.3:443")], "https://10.1.2.3/", None),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "[fd00::1]:8443")], "https://[fd00::1]:8443/", None),
            (
                &[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "[fd00::1]:8443")],
                "https://[fd00::1]/",
                Some("HTTPS_PROXY a:1"),
            ),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "fd00::1")], "https://[fd00::1]/", None),
            (&[("HTTPS_PROXY", "http://a:1"), ("NO_PROXY", "*:443")], login, None),
            (&[("ALL_PROXY", "http://a:1")], "https://localhost:8443/", None),
            (&[("ALL_PROXY", "http://a:1")], "https://entra.localhost:8443/", None),
            (&[("ALL_PROXY", "http://a:1")], "http://127.9.9.9/", None),
            (&[("ALL_PROXY", "http://a:1")], "http://[::1]:40342/", None),
        ];
        for (variables, url, expected) in table {
            assert_eq!(chosen(variables, url).as_deref(), *expected, "{variables:?} {url}");
        }
    }

    #[test]
    fn proxy_authorization_is_encoded_as_by_the_client() {
        let sent = |url: &str| authorization(&Url::parse(url).unwrap()).map(|value| value.expose().to_owned());
        assert_eq!(sent("http://h:1").as_deref(), None);
        assert_eq!(sent("http://canary-user:pl%40nted@h:1").as_deref(), Some("Basic Y2FuYXJ5LXVzZXI6cGxAbnRlZA=="));
        assert_eq!(sent("http://u@h:1").as_deref(), Some("Basic dTo="));
    }

    #[test]
    fn proxy_with_a_password_that_is_not_encoded_is_reported() {
        for value in [
            "http://user:12#hunter2@host:1",
            "user:hun/ter2@host",
            "http://user:a?hunter2@host",
            "http://us#er:hunter2@h",
        ] {
            let error = rules(&[("HTTPS_PROXY", value)]).err().expect(value);
            let text = format!("{error} {error:?}");
            assert!(text.contains("Percent-encode user and password") && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn proxy_error_contains_the_variable_and_no_password() {
        for value in
            ["ftp://user:hunter2@host", "http://user:hunter2@", "http://user:hunter2@ho st:x", "http://:hunter2@[::"]
        {
            let error = rules(&[("HTTPS_PROXY", value)]).err().expect(value);
            assert_eq!(error.kind(), ErrorKind::InvalidConfiguration);
            let text = format!("{error} {error:?}");
            assert!(text.contains("HTTPS_PROXY") && !text.contains("hunter2") && !text.contains("user"), "{text}");
        }
    }
}

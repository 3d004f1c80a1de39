//! The proxy variables, as every tool reads them.

use std::collections::BTreeMap;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{Client, Proxy, Url};

use crate::{
    config::BuildInputs,
    error::{Error, ErrorKind, Result},
    secret::Secret,
};

/// A client that goes through one proxy.
pub(super) struct Proxied {
    pub(super) client: Client,
    /// The variable that names the proxy.
    pub(super) variable: &'static str,
    /// Its host and port.
    pub(super) endpoint: String,
}

/// What the proxy variables say: of two spellings the lower-case one counts.
pub(super) struct ProxySettings {
    http: Option<(&'static str, Secret)>,
    https: Option<(&'static str, Secret)>,
    no_proxy: String,
}

impl ProxySettings {
    /// Reads the variables. `HTTP_PROXY` is ignored where `REQUEST_METHOD` is set, because there a visitor of a CGI script can
    /// set it with a header.
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

/// Which requests go through which proxy.
#[derive(Default)]
pub(super) struct ProxyRules {
    http: Option<Proxied>,
    https: Option<Proxied>,
    /// What `NO_PROXY` lists, each for one port or for all.
    exceptions: Vec<(Option<u16>, Matcher)>,
}

impl ProxyRules {
    /// # Errors
    /// [`ErrorKind::InvalidConfiguration`] for a variable that names no usable proxy.
    pub(super) fn new(settings: &ProxySettings, build: impl Fn(Proxy) -> Result<Client>) -> Result<ProxyRules> {
        let proxied = |setting: &Option<(&'static str, Secret)>| -> Result<Option<Proxied>> {
            setting
                .as_ref()
                .map(|(variable, value)| {
                    let (proxy, endpoint) = parse(variable, value.expose())?;
                    Ok(Proxied { client: build(proxy)?, variable, endpoint })
                })
                .transpose()
        };
        Ok(ProxyRules {
            http: proxied(&settings.http)?,
            https: proxied(&settings.https)?,
            exceptions: exceptions(&settings.no_proxy),
        })
    }

    /// The proxy for an address, if any.
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

/// The matcher knows hosts, domains and networks but no ports, so each port has one. It intercepts what is not listed.
fn exceptions(no_proxy: &str) -> Vec<(Option<u16>, Matcher)> {
    let mut by_port: BTreeMap<Option<u16>, Vec<&str>> = BTreeMap::new();
    for entry in no_proxy.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        let (host, port) = match entry.rsplit_once(':') {
            // An IPv6 address has colons of its own; with a port it is in brackets.
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

/// Whether the address is this machine's own.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches([']', '.']);
    match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost") || host.to_ascii_lowercase().ends_with(".localhost"),
    }
}

fn parse(variable: &'static str, value: &str) -> Result<(Proxy, String)> {
    // A proxy's address may hold a password, so no message quotes it.
    let refused = |why: &str| {
        Error::new(ErrorKind::InvalidConfiguration, format!("the variable {variable} names no usable proxy: {why}"))
            .with_advice("Write it as http://host:port, or unset it.")
    };
    let value = value.trim();
    let spelled_out = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url = Url::parse(&spelled_out).map_err(|e| refused(&e.to_string()))?;
    if !matches!(url.scheme(), "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h") {
        return Err(refused("its scheme is none of http, https, socks4, socks5"));
    }
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| refused("it has no host"))?;
    let default_port = if url.scheme().starts_with("socks") { 1080 } else { 80 };
    let endpoint = format!("{host}:{}", url.port_or_known_default().unwrap_or(default_port));
    let proxy = Proxy::all(url.clone()).map_err(|_| refused("it is not understood"))?;
    Ok((proxy, endpoint))
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
    fn variables_choose_the_proxy() {
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
    fn a_bad_proxy_is_named_and_its_password_is_not() {
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

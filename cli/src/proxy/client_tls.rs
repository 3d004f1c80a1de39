//! TLS for clients.

use std::{path::Path, sync::Arc};

use pgentra_proxy::{
    ALPN,
    tokio_rustls::{
        TlsAcceptor,
        rustls::{
            ServerConfig,
            crypto::ring,
            pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
            server::NoServerSessionStorage,
        },
    },
};

use super::{
    guard::{AccessOptions, TlsMode},
    private_input::{Reloaded, read_private},
};
use crate::failure::{Exit, Failure, Result};

/// The certificate for clients, and how connections are accepted with it.
pub struct ClientTls {
    config: Reloaded<ServerConfig>,
}

impl ClientTls {
    /// Reads the options. Returns `None` if clients have no TLS.
    ///
    /// # Errors
    /// Fails if the certificate or the key cannot be used, or if other users can read the key.
    pub fn new(options: &AccessOptions) -> Result<Option<ClientTls>> {
        let config = match (&options.tls_cert, &options.tls_key, options.tls) {
            (Some(certificate), Some(key), _) => {
                let paths = vec![certificate.clone(), key.clone()];
                let (certificate, key) = (certificate.clone(), key.clone());
                Reloaded::new(paths, move || from_files(&certificate, &key))?
            }
            (_, _, Some(TlsMode::SelfSigned)) => Reloaded::new(Vec::new(), self_signed)?,
            _ => return Ok(None),
        };
        Ok(Some(ClientTls { config }))
    }

    /// Returns the acceptor for one connection, with the current files. If changed files cannot be used, the earlier
    /// certificate stays.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.get())
    }
}

fn from_files(certificate: &Path, key: &Path) -> Result<ServerConfig> {
    let what = format!("the certificate {}", certificate.display());
    let unusable = |what: &str, error: &dyn std::fmt::Display| {
        Failure::usage(format!("{what} cannot be used: {error}"), "Correct --tls-cert or --tls-key.")
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(&what, &error))?;
    if chain.is_empty() {
        return Err(unusable(&what, &"the file contains no certificate"));
    }
    let text = read_private("the key", key)?;
    // The error of the reader could repeat a part of the file.
    let private = PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| unusable(&format!("the key {}", key.display()), &"it contains no private key in PEM form"))?;
    config(chain, private).map_err(|error| unusable(&what, &error))
}

/// Makes a certificate for this machine's local names.
fn self_signed() -> Result<ServerConfig> {
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(Exit::Failed, "internal", format!("no certificate can be made: {error}"), "")
    };
    let made = rcgen::generate_simple_self_signed(names).map_err(|error| failed(&error))?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    config(vec![made.cert.der().clone()], key).map_err(|error| failed(&error))
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> std::result::Result<ServerConfig, pgentra_proxy::tokio_rustls::rustls::Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.as_bytes().to_vec()];
    // PostgreSQL's clients do not resume sessions of TLS.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

    use pgentra_proxy::tokio_rustls::{
        TlsConnector,
        rustls::{ClientConfig, ProtocolVersion, RootCertStore, pki_types::ServerName, version},
    };

    use super::*;

    /// A certificate and its key, in files.
    fn files(directory: &Path) -> (AccessOptions, rcgen::CertifiedKey<rcgen::KeyPair>) {
        let options = AccessOptions {
            tls_cert: Some(directory.join("tls.crt")),
            tls_key: Some(directory.join("tls.key")),
            ..AccessOptions::default()
        };
        let made = replace(&options);
        (options, made)
    }

    fn replace(options: &AccessOptions) -> rcgen::CertifiedKey<rcgen::KeyPair> {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
        let path = |option: &Option<PathBuf>| option.clone().expect("a path");
        fs::write(path(&options.tls_key), made.signing_key.serialize_pem()).expect("written");
        fs::set_permissions(path(&options.tls_key), fs::Permissions::from_mode(0o600)).expect("changed");
        fs::write(path(&options.tls_cert), made.cert.pem()).expect("written");
        made
    }

    /// Connects a client that trusts the certificate, and returns the version and the protocol.
    async fn connect(
        acceptor: TlsAcceptor,
        trusted: &rcgen::CertifiedKey<rcgen::KeyPair>,
        versions: &[&'static pgentra_proxy::tokio_rustls::rustls::SupportedProtocolVersion],
        alpn: &[&str],
    ) -> Option<(Option<ProtocolVersion>, Option<Vec<u8>>)> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.cert.der().clone()).expect("a root");
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let (client, server) = tokio::io::duplex(1 << 16);
        let name = ServerName::try_from("localhost").expect("a name");
        let connector = TlsConnector::from(Arc::new(config));
        let (client, _) = tokio::join!(connector.connect(name, client), acceptor.accept(server));
        let client = client.ok()?;
        let (_, session) = client.get_ref();
        Some((session.protocol_version(), session.alpn_protocol().map(<[u8]>::to_vec)))
    }

    #[tokio::test]
    async fn client_tls_has_versions_from_1_2_and_the_protocol_of_postgresql() {
        let directory = tempfile::tempdir().expect("a directory");
        let (options, made) = files(directory.path());
        let tls = ClientTls::new(&options).expect("options").expect("TLS");
        for (versions, alpn, expected) in [
            (&[&version::TLS13], &["postgresql"][..], Some((ProtocolVersion::TLSv1_3, Some("postgresql")))),
            (&[&version::TLS12], &["postgresql"], Some((ProtocolVersion::TLSv1_2, Some("postgresql")))),
            // Clients before PostgreSQL 17 offer no protocol.
            (&[&version::TLS13], &[], Some((ProtocolVersion::TLSv1_3, None))),
            (&[&version::TLS13], &["h2"], None),
        ] {
            let found = connect(tls.acceptor(), &made, versions, alpn).await;
            let expected = expected.map(|(version, alpn)| (Some(version), alpn.map(|name| name.as_bytes().to_vec())));
            assert_eq!(found, expected, "{alpn:?}");
        }
    }

    #[tokio::test]
    async fn client_tls_follows_its_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let (options, first) = files(directory.path());
        let tls = ClientTls::new(&options).expect("options").expect("TLS");
        let second = replace(&options);
        let versions = &[&version::TLS13];
        assert!(connect(tls.acceptor(), &first, versions, &[]).await.is_none());
        assert!(connect(tls.acceptor(), &second, versions, &[]).await.is_some());
        // A certificate without its key, in the middle of a change.
        let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("made");
        fs::write(options.tls_cert.as_ref().expect("a path"), other.cert.pem()).expect("written");
        assert!(connect(tls.acceptor(), &second, versions, &[]).await.is_some());
    }

    #[tokio::test]
    async fn client_tls_with_unusable_files_names_them() {
        let directory = tempfile::tempdir().expect("a directory");
        let (options, _) = files(directory.path());
        let (certificate, key) = (options.tls_cert.clone().expect("a path"), options.tls_key.clone().expect("a path"));
        let error = || ClientTls::new(&options).map(drop).expect_err("refused").to_string();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("changed");
        assert!(error().contains("can be read or written by other users"));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("changed");
        fs::write(&key, "canary").expect("written");
        assert!(error().contains("tls.key") && !error().contains("canary"));
        fs::write(&certificate, "canary").expect("written");
        assert!(error().contains("no certificate") && !error().contains("canary"));
        fs::remove_file(&certificate).expect("removed");
        assert!(error().contains("tls.crt"));
    }

    #[tokio::test]
    async fn client_tls_self_signed_is_made_without_files() {
        let options = AccessOptions { tls: Some(TlsMode::SelfSigned), ..AccessOptions::default() };
        let tls = ClientTls::new(&options).expect("options").expect("TLS");
        let (client, server) = tokio::io::duplex(1 << 16);
        // A client that does not trust it ends the handshake.
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        config.alpn_protocols = vec![ALPN.as_bytes().to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let name = ServerName::try_from("localhost").expect("a name");
        let (acceptor, client) = (tls.acceptor(), connector.connect(name, client));
        let (client, _) = tokio::join!(client, acceptor.accept(server));
        assert!(client.expect_err("untrusted").to_string().contains("UnknownIssuer"));
        assert!(ClientTls::new(&AccessOptions::default()).expect("options").is_none());
    }
}

//! The trusted certificate authorities.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use bcder::{Mode, Oid, Tag, decode::Constructed};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use rustls_native_certs::load_certs_from_paths;
use x509_parser::{certificate::X509CertificateParser, nom::Parser};

use crate::{
    byte_order_mark::unmarked,
    config::{BuildInputs, Environment},
    error::{Error, ErrorKind, Result},
};

/// The maximum size of a file. Bundles of certificate authorities are smaller.
const MAX_FILE: u64 = 64 << 20;

/// The trusted certificate authorities, and those that could not be loaded.
pub(super) struct Trusted {
    pub(super) store: RootCertStore,
    pub(super) notes: Vec<String>,
}

/// The files from which certificate authorities are read.
pub(super) struct RootSettings {
    /// Files that replace the system's certificate authorities, each with its variable.
    instead: Vec<(&'static str, PathBuf)>,
    /// Files that are used in addition.
    besides: Vec<(&'static str, PathBuf)>,
    ca_file: Option<String>,
}

impl RootSettings {
    pub(super) fn new(inputs: &BuildInputs<'_>) -> RootSettings {
        let named = |name: &'static str| inputs.variable(name).map(|path| (name, PathBuf::from(path)));
        let directories = std::env::split_paths(inputs.variable("SSL_CERT_DIR").unwrap_or_default());
        RootSettings {
            instead: named("SSL_CERT_FILE").into_iter().chain(directories.map(|path| ("SSL_CERT_DIR", path))).collect(),
            besides: ["NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]
                .into_iter()
                .filter_map(named)
                .collect(),
            ca_file: inputs.ca_file().map(str::to_owned),
        }
    }
}

/// Loads `SSL_CERT_FILE` and `SSL_CERT_DIR`, otherwise the operating system's store, otherwise Mozilla's. The `ca_file`
/// option and the variables with which Python and Node programs add certificate authorities are loaded in addition.
///
/// # Errors
/// [`ErrorKind::InvalidConfiguration`] if `ca_file` does not contain a certificate.
pub(super) fn trusted(settings: &RootSettings) -> Result<Trusted> {
    trusted_with(settings, system)
}

/// Returns the certificate authorities for a PostgreSQL server: those in the file `sslrootcert`, otherwise, and for
/// `system`, those that [`trusted`] returns.
///
/// # Errors
/// [`ErrorKind::InvalidConnection`] if the file does not contain a certificate.
pub fn server_roots(environment: &Environment, sslrootcert: Option<&str>) -> Result<RootCertStore> {
    let Some(path) = sslrootcert.filter(|path| *path != "system") else {
        return root_store(&BuildInputs::new(environment));
    };
    read_root_store(Path::new(path)).map_err(|message| {
        Error::new(ErrorKind::InvalidConnection, format!("sslrootcert: {message}"))
            .with_advice("Set sslrootcert to a PEM file of certificate authorities, or to system.")
    })
}

/// Returns the certificate authorities of a PEM file, or of a folder of them.
///
/// # Errors
/// [`ErrorKind::InvalidConfiguration`] if it contains no certificate.
pub(crate) fn root_store_of(path: &Path) -> Result<RootCertStore> {
    read_root_store(path).map_err(|message| {
        Error::new(ErrorKind::InvalidConfiguration, message).with_advice("Use a PEM file of certificate authorities.")
    })
}

/// Reads certificate authorities, or returns why there are none.
fn read_root_store(path: &Path) -> std::result::Result<RootCertStore, String> {
    let loaded = load(path);
    let why = loaded.describe();
    let mut store = RootCertStore::empty();
    match store.add_parsable_certificates(loaded.certificates).0 {
        0 => Err(format!("no certificate could be read from {} ({why})", path.display())),
        _ => Ok(store),
    }
}

/// Returns the certificate authorities that token requests trust.
///
/// # Errors
/// [`ErrorKind::InvalidConfiguration`] if `ca_file` does not contain a certificate.
pub(crate) fn root_store(inputs: &BuildInputs<'_>) -> Result<RootCertStore> {
    trusted(&RootSettings::new(inputs)).map(|trusted| trusted.store)
}

/// Returns Mozilla's certificate authorities, which are a part of the library.
pub(crate) fn bundled_root_store() -> RootCertStore {
    webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect()
}

fn trusted_with(settings: &RootSettings, system: impl Fn() -> Vec<CertificateDer<'static>>) -> Result<Trusted> {
    let mut trusted = Trusted { store: RootCertStore::empty(), notes: Vec::new() };
    // Several variables often contain the same path.
    let mut named: Vec<PathBuf> = Vec::new();
    let mut add_once = |trusted: &mut Trusted, name: &str, path: &PathBuf| {
        if !path.as_os_str().is_empty() && !named.contains(path) {
            trusted.add_named(name, load(path));
            named.push(path.clone());
        }
    };

    for (name, path) in &settings.instead {
        add_once(&mut trusted, name, path);
    }
    if trusted.store.is_empty() {
        trusted.add(system());
    }
    if trusted.store.is_empty() {
        trusted.store = bundled_root_store();
    }

    for (name, path) in &settings.besides {
        add_once(&mut trusted, name, path);
    }
    if let Some(path) = &settings.ca_file {
        let loaded = load(Path::new(path));
        let why = loaded.describe();
        if trusted.add(loaded.certificates) == 0 {
            return Err(Error::new(
                ErrorKind::InvalidConfiguration,
                format!("option `ca_file`: no certificate could be read from {path} ({why})"),
            )
            .with_advice("Pass a PEM file of certificate authorities."));
        }
    }
    Ok(trusted)
}

impl Trusted {
    fn add(&mut self, certificates: Vec<CertificateDer<'static>>) -> usize {
        self.store.add_parsable_certificates(certificates).0
    }

    /// Adds the certificates from the path in a variable. If the path is not readable, this is not an error (OpenSSL
    /// and Node ignore it too), but it is reported.
    fn add_named(&mut self, name: &str, loaded: Loaded) {
        let why = loaded.describe();
        if self.add(loaded.certificates) == 0 {
            tracing::warn!(target: "pgentra::transport", variable = name, "no certificate could be read from {name}: {why}");
            self.notes.push(format!("no certificate could be read from {name}: {why}"));
        }
    }
}

/// The contents of a PEM file, or of a folder of them.
#[derive(Default)]
struct Loaded {
    certificates: Vec<CertificateDer<'static>>,
    /// The number of certificates that are not trusted for servers.
    distrusted: usize,
    error: Option<String>,
}

/// Returns the certificates in a PEM text.
pub(super) fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    let mut loaded = Loaded::default();
    loaded.add_text(pem);
    loaded.certificates
}

/// Loads a PEM file, or a folder of them with the file names that OpenSSL uses.
fn load(path: &Path) -> Loaded {
    let mut loaded = Loaded::default();
    if path.is_dir() {
        match fs::read_dir(path) {
            Ok(entries) => {
                let paths = entries.flatten().map(|entry| entry.path());
                // Links in a rehashed folder are followed; broken links are skipped.
                paths.filter(|path| path.is_file()).for_each(|path| loaded.add(&path));
            }
            Err(error) => loaded.fail(path, &error.to_string()),
        }
    } else {
        loaded.add(path);
    }
    loaded.certificates.sort_unstable_by(|one, other| one.as_ref().cmp(other));
    loaded.certificates.dedup();
    loaded
}

impl Loaded {
    fn add(&mut self, path: &Path) {
        let mut content = Vec::new();
        let read = fs::File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut content));
        let read = read.and_then(|length| match length as u64 > MAX_FILE {
            true => Err(io::Error::other(format!("it is larger than {MAX_FILE} bytes"))),
            false => Ok(()),
        });
        match read {
            Ok(()) => self.add_text(&content).into_iter().for_each(|error| self.fail(path, &error)),
            Err(error) => self.fail(path, &error.to_string()),
        }
    }

    /// Adds the certificates of a PEM text, and returns the problems of the others.
    fn add_text(&mut self, content: &[u8]) -> Vec<String> {
        let unmarked = unmarked(content);
        let text = String::from_utf8_lossy(unmarked.as_deref().map_or(content, Vec::as_slice));
        // OpenSSL reads all three labels as certificates.
        let text =
            text.replace(" TRUSTED CERTIFICATE-", " CERTIFICATE-").replace(" X509 CERTIFICATE-", " CERTIFICATE-");
        let mut errors = Vec::new();
        // Only the end of the certificate is needed.
        let mut parser = X509CertificateParser::new().with_deep_parse_extensions(false);
        for section in CertificateDer::pem_slice_iter(text.as_bytes()) {
            match section {
                Ok(certificate) => match parser.parse(&certificate) {
                    Ok((attributes, _)) if !attributes.is_empty() => {
                        if is_trusted_for_servers(attributes) {
                            let length = certificate.len() - attributes.len();
                            self.certificates.push(certificate[..length].to_vec().into());
                        } else {
                            self.distrusted += 1;
                        }
                    }
                    _ => self.certificates.push(certificate),
                },
                Err(error) => errors.push(error.to_string()),
            }
        }
        errors
    }

    fn fail(&mut self, path: &Path, why: &str) {
        self.error.get_or_insert_with(|| format!("{}: {why}", path.display()));
    }

    /// Describes why no certificate was loaded.
    fn describe(&self) -> String {
        match (&self.error, self.distrusted) {
            (Some(error), _) => error.clone(),
            (None, 0) => "it contains no certificate".to_owned(),
            (None, count) => {
                format!("it contains no certificate that is marked as trusted for servers (of {count})")
            }
        }
    }
}

/// Returns whether a certificate is trusted for servers, by the attributes that OpenSSL writes after it in `TRUSTED
/// CERTIFICATE`: `X509_CERT_AUX`, the purposes for which it is trusted and rejected. Files of distributions contain
/// rejected certificate authorities too.
fn is_trusted_for_servers(attributes: &[u8]) -> bool {
    fn names_servers<S: bcder::decode::Source>(
        purposes: &mut Constructed<'_, S>,
    ) -> Result<bool, bcder::decode::DecodeError<S::Error>> {
        let mut named = false;
        while let Some(purpose) = Oid::take_opt_from(purposes)? {
            // The purposes are server authentication and any purpose.
            named |= matches!(purpose.to_string().as_str(), "1.3.6.1.5.5.7.3.1" | "2.5.29.37.0");
        }
        Ok(named)
    }
    let read = Mode::Der.decode(attributes, |value| {
        value.take_sequence(|value| {
            let trusted = value.take_opt_sequence(names_servers)?;
            let rejected = value.take_opt_constructed_if(Tag::CTX_0, names_servers)?;
            value.skip_all()?;
            Ok(trusted.unwrap_or(true) && !rejected.unwrap_or(false))
        })
    });
    read.unwrap_or(false)
}

/// Returns the certificates of the operating system's store. On Linux and similar systems the well-known bundle is read
/// here, because the library's own search reads the process's environment, which another thread can be changing.
fn system() -> Vec<CertificateDer<'static>> {
    if cfg!(any(target_vendor = "apple", windows)) {
        return rustls_native_certs::load_native_certs().certs;
    }
    const BUNDLES: &[&str] = &[
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
        "/usr/local/etc/ssl/cert.pem",
    ];
    const DIRECTORIES: &[&str] = &["/etc/ssl/certs", "/etc/pki/tls/certs", "/usr/local/share/certs"];
    let bundle = BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file());
    let certificates = load_certs_from_paths(bundle.as_deref(), None).certs;
    if !certificates.is_empty() {
        return certificates;
    }
    DIRECTORIES.iter().flat_map(|path| load_certs_from_paths(None, Some(Path::new(path))).certs).collect()
}

/// Returns a TLS configuration with these certificate authorities.
///
/// # Errors
/// [`ErrorKind::Internal`] if the cryptography provider lacks what TLS needs.
pub(super) fn client_config(store: RootCertStore) -> Result<ClientConfig> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::new(ErrorKind::Internal, format!("TLS cannot be set up: {e}")))?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use x509_parser::{certificate::X509Certificate, prelude::FromDer};

    use super::*;

    fn settings(variables: &[(&str, &Path)], ca_file: Option<&Path>) -> RootSettings {
        let environment: Environment =
            variables.iter().map(|(name, path)| ((*name).to_owned(), path.display().to_string().into())).collect();
        let ca_file = ca_file.map(|path| path.display().to_string());
        RootSettings::new(&BuildInputs::new(&environment).with_ca_file(ca_file.as_deref()))
    }

    fn authority(name: &str) -> String {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(vec![]).unwrap();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.self_signed(&key).unwrap().pem()
    }

    #[test]
    fn roots_follow_the_precedence_of_their_sources() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let one = file("one.pem", &authority("one"));
        let two = file("two.pem", &(authority("two-a") + &authority("two-b")));
        let hashed = directory.path().join("hashed");
        std::fs::create_dir(&hashed).unwrap();
        std::fs::write(hashed.join("0a1b2c3d.0"), authority("hashed")).unwrap();
        let empty = file("empty.pem", "");
        let missing = directory.path().join("missing.pem");
        let system = || rustls_native_certs::load_certs_from_paths(Some(&two), None).certs;
        let count = |settings: &RootSettings| {
            let trusted = trusted_with(settings, system).unwrap();
            (trusted.store.len(), trusted.notes.len())
        };

        assert_eq!(count(&settings(&[], None)), (2, 0), "the system's");
        assert_eq!(count(&settings(&[], Some(&one))), (3, 0), "ca_file besides the system's");
        assert_eq!(count(&settings(&[("SSL_CERT_FILE", &one)], None)), (1, 0), "in place of the system's");
        assert_eq!(count(&settings(&[("SSL_CERT_DIR", &hashed)], None)), (1, 0));
        assert_eq!(count(&settings(&[("SSL_CERT_FILE", &one), ("SSL_CERT_DIR", &hashed)], None)), (2, 0));
        assert_eq!(count(&settings(&[("SSL_CERT_FILE", &one), ("NODE_EXTRA_CA_CERTS", &two)], None)), (3, 0));
        assert_eq!(count(&settings(&[("REQUESTS_CA_BUNDLE", &one)], None)), (3, 0), "besides the system's");
        assert_eq!(count(&settings(&[("CURL_CA_BUNDLE", &hashed)], None)), (3, 0), "a directory");
        let twice = [("SSL_CERT_FILE", &*one), ("NODE_EXTRA_CA_CERTS", &one), ("REQUESTS_CA_BUNDLE", &one)];
        assert_eq!(count(&settings(&twice, None)), (1, 0), "one bundle under several names");
        assert_eq!(count(&settings(&[("SSL_CERT_FILE", &missing)], None)), (2, 1), "unreadable: told, and passed over");
        assert_eq!(count(&settings(&[("SSL_CERT_FILE", &empty)], None)), (2, 1));

        let marked = file("marked.pem", &format!("\u{feff}{}", authority("marked")));
        assert_eq!(count(&settings(&[("SSL_CERT_FILE", &marked)], None)), (1, 0), "a byte order mark");
        assert_eq!(count(&settings(&[], Some(&marked))), (3, 0));
        let utf16: Vec<u8> =
            ["\u{feff}", &authority("utf-16")].concat().encode_utf16().flat_map(u16::to_le_bytes).collect();
        let wide = directory.path().join("wide.pem");
        std::fs::write(&wide, utf16).unwrap();
        assert_eq!(count(&settings(&[("SSL_CERT_FILE", &wide)], None)), (1, 0), "as PowerShell writes it");
        std::fs::rename(&marked, hashed.join("1a2b3c4d.0")).unwrap();
        assert_eq!(count(&settings(&[("SSL_CERT_DIR", &hashed)], None)), (2, 0), "in a directory");

        let bare = trusted_with(&settings(&[], None), Vec::new).unwrap();
        assert_eq!(bare.store.len(), webpki_roots::TLS_SERVER_ROOTS.len(), "an empty system falls back to Mozilla's");

        for path in [&missing, &empty] {
            let error = trusted_with(&settings(&[], Some(path)), system).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidConfiguration);
            assert!(error.to_string().contains("ca_file"), "{error}");
        }
    }

    #[test]
    fn server_roots_are_those_of_sslrootcert_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("one.pem");
        std::fs::write(&file, authority("one")).unwrap();
        let path = file.display().to_string();
        let environment: Environment = [("SSL_CERT_FILE".to_owned(), path.as_str().into())].into();
        for (environment, sslrootcert) in
            [(&Environment::new(), Some(path.as_str())), (&environment, None), (&environment, Some("system"))]
        {
            assert_eq!(server_roots(environment, sslrootcert).unwrap().len(), 1, "{sslrootcert:?}");
        }
        let error = server_roots(&environment, Some("/no/such/file.pem")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidConnection);
        assert!(error.to_string().starts_with("sslrootcert: no certificate could be read from /no/such/file.pem"));
    }

    /// The file contains one certificate that is trusted for servers, one that is rejected and one that is for mail.
    #[test]
    fn load_of_trusted_certificates_follows_their_marks() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/certificates/authorities.pem");
        let loaded = load(Path::new(path));
        assert_eq!((loaded.certificates.len(), loaded.distrusted, &loaded.error), (1, 2, &None));
        let (rest, certificate) = X509Certificate::from_der(&loaded.certificates[0]).unwrap();
        assert!(rest.is_empty(), "the attributes are cut off");
        assert_eq!(certificate.subject().to_string(), "CN=app");

        let directory = tempfile::tempdir().unwrap();
        let content = std::fs::read_to_string(path).unwrap();
        let sections: Vec<_> = content.split_inclusive("-----END TRUSTED CERTIFICATE-----").collect();
        let rejected = directory.path().join("rejected.pem");
        std::fs::write(&rejected, sections[1]).unwrap();
        let loaded = load(&rejected);
        assert!(loaded.certificates.is_empty());
        assert_eq!(loaded.describe(), "it contains no certificate that is marked as trusted for servers (of 1)");
        assert!(!is_trusted_for_servers(b"0\x05bad"), "what cannot be read is not trusted");
    }
}

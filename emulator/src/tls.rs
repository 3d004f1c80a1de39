//! The emulator's certificate authority, the certificate of its servers, and the bundle for clients.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

const CERTIFICATE_FILE: &str = "ca.pem";
const KEY_FILE: &str = "ca-key.pem";
const BUNDLE_FILE: &str = "bundle.pem";

/// The certificate authority, and the certificate that all its TLS listeners use.
pub struct Authority {
    /// A PEM file with only the authority's certificate.
    pub ca_file: PathBuf,
    /// A PEM file with the system's certificate authorities and the emulator's. It replaces the system's in a client's
    /// settings.
    pub bundle_file: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl Authority {
    /// Opens the certificate authority in `directory`, and creates it if it does not exist. Its server certificate is
    /// for `localhost`, the loopback addresses and `names` (DNS names or IP addresses).
    ///
    /// # Errors
    /// Fails if the directory cannot be written, if its files are not a certificate and key of an authority, or if a
    /// name is invalid.
    pub fn open(directory: &Path, names: &[String]) -> io::Result<Self> {
        let directory = std::path::absolute(directory)?;
        fs::create_dir_all(&directory)?;
        let (ca_file, key_file) = (directory.join(CERTIFICATE_FILE), directory.join(KEY_FILE));
        let (certificate, key) = if ca_file.exists() && key_file.exists() {
            let key = KeyPair::from_pem(&fs::read_to_string(&key_file)?).map_err(|error| invalid(&key_file, error))?;
            (fs::read_to_string(&ca_file)?, key)
        } else {
            let (certificate, key) = make_authority().map_err(io::Error::other)?;
            write_private(&key_file, &key.serialize_pem())?;
            write(&ca_file, certificate.as_bytes())?;
            (certificate, key)
        };
        // The authority's name and extensions never change, so the certificate in the file does not need to be read.
        let issuer = Issuer::new(authority_params(), key);
        let (server, server_key) = make_server(&issuer, names).map_err(io::Error::other)?;

        let mut bundle = system_roots();
        bundle.push_str(&certificate);
        let bundle_file = directory.join(BUNDLE_FILE);
        write(&bundle_file, bundle.as_bytes())?;

        let key = PrivatePkcs8KeyDer::from(server_key.serialize_der());
        Ok(Self { ca_file, bundle_file, chain: vec![server], key })
    }

    /// Returns settings for a listener that offers the given protocols (`http/1.1`; `postgresql` for direct TLS).
    ///
    /// # Errors
    /// Fails if the created certificate does not match its key.
    pub fn server_config(&self, protocols: &[&str]) -> io::Result<Arc<rustls::ServerConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), PrivateKeyDer::from(self.key.clone_key()))
            .map_err(io::Error::other)?;
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(Arc::new(config))
    }
}

/// A self-signed certificate for one name.
pub struct SelfSigned {
    name: String,
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
}

impl SelfSigned {
    /// Creates a certificate for this name.
    ///
    /// # Errors
    /// Fails if the name is invalid.
    pub fn new(name: &str) -> io::Result<Self> {
        let make = || {
            let key = KeyPair::generate()?;
            let mut params = CertificateParams::new(vec![name.to_owned()])?;
            params.distinguished_name.push(DnType::CommonName, name);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            valid_for_years(&mut params, 2);
            let certificate = params.self_signed(&key)?.der().clone();
            Ok::<_, rcgen::Error>((certificate, PrivatePkcs8KeyDer::from(key.serialize_der())))
        };
        let (certificate, key) = make().map_err(io::Error::other)?;
        Ok(Self { name: name.to_owned(), certificate, key })
    }

    /// Returns the SHA-1 digest of the certificate as hex digits.
    pub fn thumbprint(&self) -> String {
        let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &self.certificate);
        digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect()
    }

    /// Returns the certificate as PEM.
    pub fn pem(&self) -> String {
        pem::encode(&pem::Pem::new("CERTIFICATE", self.certificate.to_vec()))
    }

    /// Returns settings for a listener. With `by_name_only`, clients that do not request the certificate's name in TLS
    /// are rejected.
    ///
    /// # Errors
    /// Fails if the created certificate does not match its key.
    pub fn server_config(&self, by_name_only: bool) -> io::Result<Arc<rustls::ServerConfig>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = vec![self.certificate.clone()];
        let key = PrivateKeyDer::from(self.key.clone_key());
        let certified = rustls::sign::CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider);
        let builder = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth();
        let mut config = if by_name_only {
            let mut resolver = rustls::server::ResolvesServerCertUsingSni::new();
            resolver.add(&self.name, certified.map_err(io::Error::other)?).map_err(io::Error::other)?;
            builder.with_cert_resolver(Arc::new(resolver))
        } else {
            builder.with_single_cert(chain, key).map_err(io::Error::other)?
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

fn make_authority() -> Result<(String, KeyPair), rcgen::Error> {
    let key = KeyPair::generate()?;
    Ok((authority_params().self_signed(&key)?.pem(), key))
}

fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "pgentra-emulator CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid_for_years(&mut params, 10);
    params
}

fn make_server(
    issuer: &Issuer<'_, KeyPair>,
    names: &[String],
) -> Result<(CertificateDer<'static>, KeyPair), rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    // Some clients reject server certificates that are valid for longer than 825 days.
    valid_for_years(&mut params, 2);
    let always = ["localhost", "127.0.0.1", "::1"].map(String::from);
    for name in always.iter().chain(names) {
        params.subject_alt_names.push(match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(name.as_str().try_into()?),
        });
    }
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?.der().clone(), key))
}

fn valid_for_years(params: &mut CertificateParams, years: i64) {
    let now = time::OffsetDateTime::now_utc();
    // The validity starts yesterday, because the clocks of containers and their hosts can differ.
    params.not_before = now - time::Duration::days(1);
    params.not_after = now + time::Duration::days(365 * years);
}

/// Returns the certificate authorities that programs on this machine trust, as PEM. The text can be empty, because slim
/// images do not have any.
fn system_roots() -> String {
    let roots = rustls_native_certs::load_native_certs().certs;
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    roots.iter().map(|root| pem::encode_config(&pem::Pem::new("CERTIFICATE", root.as_ref()), config)).collect()
}

fn invalid(file: &Path, error: rcgen::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", file.display()))
}

fn write(file: &Path, content: &[u8]) -> io::Result<()> {
    // The file is renamed to its final name, because another emulator with the same directory can be reading it.
    let mut temporary = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new(".")))?;
    io::Write::write_all(&mut temporary, content)?;
    temporary.as_file().set_permissions(mode(0o644))?;
    temporary.persist(file).map_err(|error| error.error)?;
    Ok(())
}

fn write_private(file: &Path, content: &str) -> io::Result<()> {
    // Temporary files are readable only by their owner.
    let mut temporary = tempfile::NamedTempFile::new_in(file.parent().unwrap_or(Path::new(".")))?;
    io::Write::write_all(&mut temporary, content.as_bytes())?;
    temporary.persist(file).map_err(|error| error.error)?;
    Ok(())
}

fn mode(bits: u32) -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(bits)
}

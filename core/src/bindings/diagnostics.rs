//! What the command line needs to check a connection step by step.

use std::path::Path;

use rustls::RootCertStore;

use crate::{
    config::{BuildInputs, Environment},
    error::Result,
    transport,
};

/// Returns how many seconds this machine's clock was ahead of the clock of the service that last sent its time with a
/// token response (negative: behind).
pub fn clock_skew() -> Option<i64> {
    transport::clock_skew()
}

/// Returns the certificate authorities that token requests trust with these variables.
///
/// # Errors
/// [`ErrorKind::InvalidConfiguration`](crate::ErrorKind::InvalidConfiguration) if `ca_file` contains no certificate.
pub fn root_store(environment: &Environment, ca_file: Option<&str>) -> Result<RootCertStore> {
    transport::roots::root_store(&BuildInputs::new(environment).with_ca_file(ca_file))
}

/// Returns the certificate authorities of a PEM file, or of a folder of them.
///
/// # Errors
/// [`ErrorKind::InvalidConfiguration`](crate::ErrorKind::InvalidConfiguration) if it contains no certificate.
pub fn root_store_of(path: &Path) -> Result<RootCertStore> {
    transport::roots::root_store_of(path)
}

/// Returns Mozilla's certificate authorities, which are a part of the library.
pub fn bundled_root_store() -> RootCertStore {
    transport::roots::bundled_root_store()
}

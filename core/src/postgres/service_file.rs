//! Connection service files, in the order in which libpq reads them.
//!
//! Source: libpq, "The Connection Service File", and `parseServiceInfo` of its fe-connect.c.

use std::{collections::BTreeMap, fs, io::Read, path::PathBuf};

use super::settings::ConnectionSettings;
use crate::config::{Environment, variable};

/// The maximum size of a file. A service file has a few lines for each service.
const MOST_BYTES: u64 = 1 << 20;

/// The folders that libpq's builds search if `PGSYSCONFDIR` is not set. The one that is compiled into a libpq cannot be
/// determined without that libpq, so all are searched.
const SYSTEM_FOLDERS: &[&str] = &[
    "/etc/postgresql-common",
    "/etc/sysconfig/pgsql",
    "/etc/postgresql",
    "/etc",
    "/usr/local/etc/postgresql",
    "/usr/local/etc",
    "/usr/local/pgsql/etc",
    "/opt/homebrew/etc/postgresql",
    "/opt/homebrew/etc",
    "/opt/local/etc",
];

/// The result of a lookup of a service.
#[derive(Debug)]
pub enum ServiceLookup {
    /// The service's settings.
    Found(ConnectionSettings),
    /// The service is not in a file that can be read here, or it is defined elsewhere (LDAP).
    Unknown,
}

/// Looks up a service: in `servicefile` or `PGSERVICEFILE`, otherwise in the user's file; then in `PGSYSCONFDIR`,
/// otherwise in the system-wide folders.
pub fn find(service: &str, servicefile: Option<&str>, environment: &Environment) -> ServiceLookup {
    let users = match servicefile.or_else(|| variable(environment, "PGSERVICEFILE")) {
        Some(file) => Some(PathBuf::from(file)),
        None => users_file(environment),
    };
    if let Some(section) = users.and_then(|file| section_of(&file, service)) {
        return section;
    }
    let file = |folder: &str| PathBuf::from(folder).join("pg_service.conf");
    if let Some(folder) = variable(environment, "PGSYSCONFDIR") {
        return section_of(&file(folder), service).unwrap_or(ServiceLookup::Unknown);
    }
    // If two folders define the service differently, it cannot be determined which one libpq uses.
    let mut found: Option<ConnectionSettings> = None;
    for section in SYSTEM_FOLDERS.iter().filter_map(|folder| section_of(&file(folder), service)) {
        match (section, &found) {
            (ServiceLookup::Found(settings), None) => found = Some(settings),
            (ServiceLookup::Found(settings), Some(before)) if settings == *before => {}
            _ => return ServiceLookup::Unknown,
        }
    }
    found.map_or(ServiceLookup::Unknown, ServiceLookup::Found)
}

fn users_file(environment: &Environment) -> Option<PathBuf> {
    if cfg!(windows) {
        let folder = PathBuf::from(variable(environment, "APPDATA")?);
        return Some(folder.join("postgresql").join(".pg_service.conf"));
    }
    // Without the variable, as in some services of systemd, libpq uses the home directory of the account.
    let home = variable(environment, "HOME").map(PathBuf::from).or_else(std::env::home_dir);
    Some(home.filter(|home| !home.as_os_str().is_empty())?.join(".pg_service.conf"))
}

/// Returns the service's section of a file; `None` if the file cannot be read or does not contain it. libpq itself
/// reports a file that it cannot read.
fn section_of(file: &PathBuf, service: &str) -> Option<ServiceLookup> {
    // Opening a named pipe would block.
    if !fs::metadata(file).ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    fs::File::open(file).ok()?.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    section(&String::from_utf8_lossy(&bytes), service)
}

/// Reads the first section with that name. If a key occurs twice, the first value is used.
fn section(text: &str, service: &str) -> Option<ServiceLookup> {
    let mut values: Option<BTreeMap<String, String>> = None;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            if values.is_some() {
                break;
            }
            if name.strip_prefix(service).is_some_and(|rest| rest.starts_with(']')) {
                values = Some(BTreeMap::new());
            }
        } else if let Some(values) = &mut values {
            if line.starts_with("ldap") {
                return Some(ServiceLookup::Unknown);
            }
            if let Some((key, value)) = line.split_once('=') {
                values.entry(key.trim_end().to_owned()).or_insert_with(|| value.trim_start().to_owned());
            }
        }
    }
    values.map(|values| ServiceLookup::Found(ConnectionSettings::new(values)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, service: &str) -> Option<ConnectionSettings> {
        match section(text, service) {
            Some(ServiceLookup::Found(settings)) => Some(settings),
            Some(ServiceLookup::Unknown) => panic!("unknown"),
            None => None,
        }
    }

    #[test]
    fn service_file_section_is_read_as_in_libpq() {
        let text = "# a comment\n[other]\nhost=other\n\n  [app]  \nhost=db.example\nhost=second\nuser = alice\n# user=bob\n\
                    [app]\nport=1\n";
        let settings = found(text, "app").expect("found");
        assert_eq!(settings.get("host"), Some("db.example"));
        assert_eq!(settings.get("user"), Some("alice"));
        assert_eq!(settings.get("port"), None);
        assert!(found(text, "ap").is_none());
    }

    #[cfg(unix)]
    #[test]
    fn service_file_of_the_user_without_home_is_in_the_accounts_home() {
        let of = |environment: &Environment| users_file(environment).expect("a file");
        let home = std::env::home_dir().expect("a home");
        assert_eq!(of(&Environment::new()), home.join(".pg_service.conf"));
        let environment = Environment::from_iter([("HOME".to_owned(), "/elsewhere".into())]);
        assert_eq!(of(&environment), PathBuf::from("/elsewhere/.pg_service.conf"));
    }

    #[test]
    fn service_file_section_with_ldap_is_unknown() {
        assert!(matches!(
            section("[app]\nldap://ldap.example/dc=x?y?one\nhost=h", "app"),
            Some(ServiceLookup::Unknown)
        ));
    }
}

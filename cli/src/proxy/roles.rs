//! Which role a client gets.

use std::collections::HashMap;

use super::arguments::UpstreamOptions;
use crate::failure::{Failure, Result};

/// The names for the identity's own role, and for the name that the client sends.
const OF_TOKEN: &str = "@token";
const OF_CLIENT: &str = "@client";

/// A role on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// The identity's own role, or the one of the settings.
    OfToken,
    /// The user name that the client sends.
    OfClient,
    /// This role.
    Named(String),
}

/// The roles of clients.
#[derive(Debug)]
pub struct Roles {
    role: Role,
    /// The roles by the client's user name. If there are any, other names are refused.
    map: HashMap<String, Role>,
    database: Option<String>,
}

impl Roles {
    /// Reads the options. `database` is that of the connection's settings.
    ///
    /// # Errors
    /// Fails for names that begin with `@` and have no meaning, and for a client with two roles.
    pub fn new(options: &UpstreamOptions, database: Option<&str>) -> Result<Roles> {
        let role = |name: &str, flag: &str| match name {
            OF_TOKEN => Ok(Role::OfToken),
            OF_CLIENT => Ok(Role::OfClient),
            name if name.starts_with('@') => Err(Failure::usage(
                format!("{flag} {name} is not a role"),
                "Use @token, @client or the name of a role.",
            )),
            name => Ok(Role::Named(name.to_owned())),
        };
        let mut map = HashMap::new();
        for (client, name) in &options.map {
            if map.insert(client.clone(), role(name, "--map")?).is_some() {
                return Err(Failure::usage(format!("--map names the client {client} twice"), "Omit one of them."));
            }
        }
        let role = match options.user.as_deref() {
            // The connection's settings contain the name.
            Some(name) if !name.starts_with('@') => Role::OfToken,
            Some(name) => role(name, "--user")?,
            None => Role::OfToken,
        };
        Ok(Roles { role, map, database: database.map(str::to_owned) })
    }

    /// Returns the role for a client's user name, or `None` if the client is refused.
    pub fn role(&self, client: &str) -> Option<Role> {
        let role = match (self.map.is_empty(), self.map.get(client)) {
            (true, _) => &self.role,
            (false, found) => found?,
        };
        Some(match role {
            Role::OfClient => Role::Named(client.to_owned()),
            role => role.clone(),
        })
    }

    /// Returns the database for a client. libpq sends the user name as the database by default.
    pub fn database<'a>(&'a self, client: &str, database: &'a str) -> &'a str {
        match &self.database {
            Some(replacement) if database == client => replacement,
            _ => database,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(user: Option<&str>, map: &[(&str, &str)], database: Option<&str>) -> Result<Roles> {
        let map = map.iter().map(|(client, role)| ((*client).to_owned(), (*role).to_owned())).collect();
        let options = UpstreamOptions { user: user.map(str::to_owned), map, ..UpstreamOptions::default() };
        Roles::new(&options, database)
    }

    #[test]
    fn roles_role_depends_on_the_client_only_if_it_should() {
        let named = |name: &str| Some(Role::Named(name.to_owned()));
        assert_eq!(roles(None, &[], None).expect("roles").role("me"), Some(Role::OfToken));
        assert_eq!(roles(Some("@token"), &[], None).expect("roles").role("me"), Some(Role::OfToken));
        assert_eq!(roles(Some("readers"), &[], None).expect("roles").role("me"), Some(Role::OfToken));
        assert_eq!(roles(Some("@client"), &[], None).expect("roles").role("me"), named("me"));
        let mapped = roles(None, &[("app", "app-mi"), ("own", "@token"), ("same", "@client")], None).expect("roles");
        assert_eq!(mapped.role("app"), named("app-mi"));
        assert_eq!(mapped.role("own"), Some(Role::OfToken));
        assert_eq!(mapped.role("same"), named("same"));
        assert_eq!(mapped.role("me"), None);
    }

    #[test]
    fn roles_new_refuses_unknown_forms() {
        assert!(roles(Some("@nobody"), &[], None).is_err());
        assert!(roles(None, &[("a", "@x")], None).is_err());
        assert!(roles(None, &[("a", "b"), ("a", "c")], None).is_err());
    }

    #[test]
    fn roles_database_replaces_libpqs_default_only() {
        let roles = roles(None, &[], Some("shop")).expect("roles");
        assert_eq!((roles.database("me", "me"), roles.database("me", "mine")), ("shop", "mine"));
        let kept = super::tests::roles(None, &[], None).expect("roles");
        assert_eq!(kept.database("me", "me"), "me");
    }
}

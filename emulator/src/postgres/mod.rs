//! The PostgreSQL side: a real server, and a front door that lets nobody in without an access token.
//!
//! ```text
//! client --TLS--> FrontDoor (token, role, label) --> Upstream (the role's own session) --> PostgreSQL
//! ```
//!
//! - [`Server`] keeps a throw-away PostgreSQL, on a Unix socket only, and removes it however the emulator ends.
//! - [`Upstream`] is a PostgreSQL, that one or a user's own: makes the roles, knows their labels, opens sessions as them.
//! - [`FrontDoor`] speaks the protocol's first words, verifies the token and from then on carries bytes.
//! - [`refusals`] is the table of what it says to those it turns away; [`Control`] and [`Report`] steer and watch it.
//!
//! # Where the SQL side differs from Azure
//! - A real `SECURITY LABEL` needs a provider written in C. Labels have Azure's text, but live in `pgaadauth.labels`, which only
//!   superusers can read; `SECURITY LABEL FOR "pgaadauth"` fails with "not loaded". Call `pgaadauth_create_principal_with_oid`,
//!   or give the principal its role in the emulator's configuration.
//! - `pgaadauth_create_principal`, `pgaadauth_create_principal_with_oid` and `pgaadauth_list_principals` are in `pg_catalog` of
//!   the database `postgres`, for members of `azure_pg_admin`, as on Azure. A name is looked up among the emulator's principals.
//!   `isMfa` is kept in the label and otherwise ignored. There is no synchronisation of group members into roles. From version 16
//!   on, `azure_pg_admin` has the `ADMIN` option on every role that is made, so that all administrators can alter and drop it.
//! - An unlabelled role never logs in: the front door knows tokens only, so its own password is refused (28P01).
//! - The superuser is `azuresu`, and `azure_pg_admin` owns the database `postgres`, as on Azure. Text sorts by bytes (`C`),
//!   where Azure's default is `en_US.utf8`. No Azure extension or parameter is there.
//!
//! # A user's own server (`--upstream`)
//! The server must be version 13 or newer, and the URL's user a superuser. What is made there stays there: the schema
//! `pgaadauth`, the three functions (all in the database `postgres`, whatever database the URL names), `azure_pg_admin`, and
//! the roles. A role that the emulator makes gets a random password, kept in `pgaadauth.labels`, by which its sessions log in
//! as that role and nobody else: `session_user` and `current_user` are the role's, its settings apply, and
//! `RESET SESSION AUTHORIZATION` leads nowhere. A role that was there before gets a label but keeps its own password, so that
//! its server has to trust connections from the emulator; a superuser is refused a label. Without `sslmode` the upstream is
//! reached unencrypted; `sslmode=require` verifies its certificate.

mod control;
mod front_door;
pub mod refusals;
mod server;
mod upstream;
mod wire;

pub use control::{Control, Login, Outcome, Report, Stage};
pub use front_door::{ALPN, FrontDoor};
pub use server::{Server, StartError};
pub use upstream::{Upstream, UpstreamError};

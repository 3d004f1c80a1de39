//! A local Microsoft Entra for tests and demos: the token endpoint over TLS, the managed identity endpoints of Azure's
//! hosts, and a PostgreSQL proxy that checks tokens as Azure Database for PostgreSQL does.
//!
//! The program `pgentra-emulator` is a thin shell over [`Emulator`]; Rust tests can use that in their own process:
//!
//! ```
//! use pgentra_emulator::{Emulator, fault::Fault};
//!
//! let emulator = Emulator::builder().start_blocking()?;
//! emulator.state().add_fault(Fault { status: Some(503), times: Some(2), ..Fault::at("token") });
//! println!("AZURE_AUTHORITY_HOST={}", emulator.addresses().authority_host);
//! # Ok::<(), pgentra_emulator::Error>(())
//! ```

#[cfg(not(unix))]
compile_error!("the emulator runs on Unix");

pub mod certificate;
pub mod cli;
pub mod config;
pub mod fault;
pub mod jwt;
pub mod postgres;
pub mod principal;
pub mod request_log;
pub mod resource;
pub mod state;
pub mod tls;

mod addresses;
mod builder;
mod claims;
mod control;
mod developer_tools;
mod emulator;
mod entra;
mod exec;
mod ids;
mod scratch;

pub use addresses::{Addresses, AppServiceAddress, PostgresAddress};
pub use builder::{EmulatorBuilder, Ports, Postgres};
pub use emulator::{BlockingEmulator, Emulator, Error};
pub use postgres::Database;

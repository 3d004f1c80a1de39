//! A pool of sqlx that logs in with an Entra token.
//!
//! `PGHOST=shop.postgres.database.azure.com PGDATABASE=orders cargo run -p pgentra-drivers --features sqlx --example sqlx`

use pgentra_drivers::{EntraDataSource, sqlx::EntraPool};
use sqlx::postgres::PgPoolOptions;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The server is in `PG*` variables; a URL may be passed instead of "".
    let source = EntraDataSource::new("")?;
    let pool = EntraPool::connect(&source, PgPoolOptions::new().max_connections(8)).await?;

    // `acquire` and `begin` retry and explain a rejected login. For migrations and libraries, `&*pool` is a `&PgPool`.
    let mut connection = pool.acquire().await?;
    let role: String = sqlx::query_scalar("select current_user::text").fetch_one(&mut *connection).await?;
    println!("sqlx: logged in as {role}");
    drop(connection);
    pool.close().await;
    Ok(())
}

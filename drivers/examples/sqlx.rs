//! A pool of sqlx that logs in with an Entra token.
//!
//! `PGHOST=shop.postgres.database.azure.com PGDATABASE=orders cargo run -p pgentra-drivers --features sqlx --example sqlx`
//!
//! With a number as argument it opens a new connection every second for that many seconds: also after the first token
//! has expired.

use std::time::{Duration, Instant};

use pgentra_drivers::{EntraDataSource, sqlx::EntraPool};
use sqlx::postgres::PgPoolOptions;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (started, seconds) = (Instant::now(), std::env::args().nth(1).map_or(Ok(0), |seconds| seconds.parse())?);
    // The server is in `PG*` variables; a URL may be passed instead of "".
    let source = EntraDataSource::new("")?;
    let pool = EntraPool::connect(&source, PgPoolOptions::new().max_connections(8)).await?;
    loop {
        // `acquire` and `begin` retry and explain a rejected login. For migrations and libraries, `&*pool` is a `&PgPool`.
        let mut connection = pool.acquire().await?;
        let role: String = sqlx::query_scalar("select current_user::text").fetch_one(&mut *connection).await?;
        println!("sqlx: logged in as {role} after {} ms", started.elapsed().as_millis());
        if started.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
        connection.close().await?; // The next one is new.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    pool.close().await;
    Ok(())
}

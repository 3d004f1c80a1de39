//! A pool of deadpool-postgres that logs in with an Entra token.
//!
//! `PGHOST=shop.postgres.database.azure.com PGDATABASE=orders \
//!      cargo run -p pgentra-drivers --features deadpool-postgres --example deadpool_postgres`

use pgentra_drivers::{
    EntraDataSource,
    deadpool_postgres::{Manager, Pool},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The server is in `PG*` variables; a URL may be passed instead of "".
    let source = EntraDataSource::new("")?;
    let pool = Pool::builder(Manager::new(source)).max_size(8).build()?;

    let client = pool.get().await?;
    let statement = client.prepare_cached("select current_user::text").await?;
    let role: String = client.query_one(&statement, &[]).await?.get(0);
    println!("deadpool-postgres: logged in as {role}");
    Ok(())
}

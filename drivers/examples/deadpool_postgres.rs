//! A pool of deadpool-postgres that logs in with an Entra token.
//!
//! `PGHOST=shop.postgres.database.azure.com PGDATABASE=orders \
//!      cargo run -p pgentra-drivers --features deadpool-postgres --example deadpool_postgres`
//!
//! With a number as argument it opens a new connection every second for that many seconds: also after the first token
//! has expired.

use std::time::{Duration, Instant};

use pgentra_drivers::{
    EntraDataSource,
    deadpool_postgres::{Manager, Object, Pool},
};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (started, seconds) = (Instant::now(), std::env::args().nth(1).map_or(Ok(0), |seconds| seconds.parse())?);
    // The server is in `PG*` variables; a URL may be passed instead of "".
    let source = EntraDataSource::new("")?;
    let pool = Pool::builder(Manager::new(source)).max_size(8).build()?;
    loop {
        let client = pool.get().await?;
        let statement = client.prepare_cached("select current_user::text").await?;
        let role: String = client.query_one(&statement, &[]).await?.get(0);
        println!("deadpool: logged in as {role} after {} ms", started.elapsed().as_millis());
        if started.elapsed() >= Duration::from_secs(seconds) {
            return Ok(());
        }
        drop(Object::take(client)); // The next one is new.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

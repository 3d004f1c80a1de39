//! A pool of diesel-async that logs in with an Entra token.
//!
//! `PGHOST=shop.postgres.database.azure.com PGDATABASE=orders \
//!      cargo run -p pgentra-drivers --features diesel-async --example diesel_async`
//!
//! With a number as argument it opens a new connection every second for that many seconds: also after the first token
//! has expired.

use std::time::{Duration, Instant};

use diesel::sql_types::Text;
use diesel_async::{
    AsyncPgConnection, RunQueryDsl,
    pooled_connection::deadpool::{Object, Pool},
};
use pgentra_drivers::{EntraDataSource, diesel_async::manager};

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    role: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (started, seconds) = (Instant::now(), std::env::args().nth(1).map_or(Ok(0), |seconds| seconds.parse())?);
    // The server is in `PG*` variables; a URL may be passed instead of "".
    let source = EntraDataSource::new("")?;
    let pool: Pool<AsyncPgConnection> = Pool::builder(manager(source)).max_size(8).build()?;
    loop {
        let mut connection = pool.get().await?;
        let query = diesel::sql_query("select current_user::text as role");
        let row: Row = query.get_result(&mut connection).await?;
        println!("diesel: logged in as {} after {} ms", row.role, started.elapsed().as_millis());
        if started.elapsed() >= Duration::from_secs(seconds) {
            return Ok(());
        }
        drop(Object::take(connection)); // The next one is new.
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

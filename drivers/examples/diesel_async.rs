//! A pool of diesel-async that logs in with an Entra token.
//!
//! `PGHOST=shop.postgres.database.azure.com PGDATABASE=orders \
//!      cargo run -p pgentra-drivers --features diesel-async --example diesel_async`

use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl, pooled_connection::bb8::Pool};
use pgentra_drivers::{EntraDataSource, diesel_async::manager};

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    role: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // The server is in `PG*` variables; a URL may be passed instead of "".
    let source = EntraDataSource::new("")?;
    let pool: Pool<AsyncPgConnection> = Pool::builder().max_size(8).build(manager(source)).await?;

    let mut connection = pool.get().await?;
    let row: Row = diesel::sql_query("select current_user::text as role").get_result(&mut connection).await?;
    println!("diesel-async: logged in as {}", row.role);
    Ok(())
}

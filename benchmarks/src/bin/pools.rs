//! The pools of `benchmarks/soak.py` in Rust: sqlx and deadpool-postgres, a line for each login.

use std::{
    fmt::Display,
    io::Read,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pgentra_drivers::{
    EntraDataSource,
    deadpool_postgres::{Manager, Object, Pool},
    sqlx::EntraPool,
};
use sqlx::postgres::PgPoolOptions;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

const SIZE: u32 = 2;
const KEPT: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> Outcome<()> {
    let source = EntraDataSource::new("")?;
    let deadpool = Pool::builder(Manager::new(source.clone())).max_size(SIZE as usize).build()?;
    let pool = EntraPool::connect_lazy(&source, PgPoolOptions::new().max_connections(SIZE))?;
    for _ in 0..SIZE {
        let (sqlx, deadpool) = (pool.clone(), deadpool.clone());
        tokio::spawn(async move {
            loop {
                let login = Login::begin("sqlx");
                let mut connection = match sqlx.acquire().await {
                    Ok(connection) => connection,
                    Err(error) => {
                        login.failed(&error).await;
                        continue;
                    }
                };
                match sqlx::query_scalar::<_, String>("select current_user::text").fetch_one(&mut *connection).await {
                    Ok(role) => login.succeeded(&role).await,
                    Err(error) => login.failed(&error).await,
                }
                let _ = connection.close().await;
            }
        });
        tokio::spawn(async move {
            loop {
                let login = Login::begin("deadpool-postgres");
                let client = match deadpool.get().await {
                    Ok(client) => client,
                    Err(error) => {
                        login.failed(&error).await;
                        continue;
                    }
                };
                match client.query_one("select current_user::text", &[]).await {
                    Ok(row) => login.succeeded(row.get(0)).await,
                    Err(error) => login.failed(&error).await,
                }
                drop(Object::take(client));
            }
        });
    }
    // Standard input ends when the program is to end.
    tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await??;
    std::process::exit(0);
}

/// A login under way.
struct Login {
    pool: &'static str,
    began: f64,
    started: Instant,
}

impl Login {
    fn begin(pool: &'static str) -> Self {
        let began = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64());
        Self { pool, began, started: Instant::now() }
    }

    /// Prints the login and keeps the connection for a while.
    async fn succeeded(self, role: &str) {
        self.print(role, "");
        tokio::time::sleep(KEPT).await;
    }

    /// Prints the failure and waits before the next attempt.
    async fn failed(self, error: &(impl Display + Sync)) {
        self.print("", &error.to_string());
        tokio::time::sleep(KEPT / 5).await;
    }

    fn print(&self, role: &str, error: &str) {
        let error = error.split_whitespace().collect::<Vec<_>>().join(" ");
        println!("{}\t{:.3}\t{:.3}\t{role}\t{error}", self.pool, self.began, self.started.elapsed().as_secs_f64());
    }
}

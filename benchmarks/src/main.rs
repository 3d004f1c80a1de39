//! One measurement in a process of its own, so that what is cold is cold: `pgentra-benchmarks MEASURE ours|peer`.
//!
//! The variable `PGENTRA_BENCHMARK` holds the line of JSON of a running emulator. The result is a line of JSON.
//! `benchmarks/run.py` sets the faults, counts the requests and takes the medians.

mod contestant;
mod credentials;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    error::Error,
    hint::black_box,
    io::{BufRead, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use contestant::Contestant;
use serde_json::{Value, json};
use tokio::{runtime, sync::Barrier, task::JoinSet};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Counts what each thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps the promises of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the promises of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WARM_CALLS: u32 = 1_000_000;
const CALLERS: usize = 200;

fn main() -> Outcome<()> {
    // Only the first to install one succeeds, and there is no other to lose to.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [measure, who] = arguments.as_slice() else { return Err("usage: pgentra-benchmarks MEASURE ours|peer".into()) };
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = match measure.as_str() {
        "warm" => runtime.block_on(warm(who))?,
        "threads" => threads(&Contestant::new(who)?)?,
        "first" => runtime.block_on(first(who))?,
        "stampede" => runtime.block_on(stampede(who))?,
        "next" => runtime.block_on(next(who))?,
        "chain" => runtime.block_on(chain(who))?,
        "scope" => runtime.block_on(credentials::scope())?,
        "sign" => runtime.block_on(credentials::sign())?,
        "users" => runtime.block_on(credentials::users())?,
        other => return Err(format!("no measure {other}").into()),
    };
    println!("{result}");
    // The peer's retries would keep the process for a while.
    std::process::exit(0);
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Nanoseconds and allocations of a login that needs no fetch, and what the engine's two looks at the clock take of that.
async fn warm(who: &str) -> Outcome<Value> {
    let contestant = Contestant::new(who)?;
    contestant.log_in().await?;
    let run = async |calls: u32| -> Outcome<Duration> {
        let started = Instant::now();
        for _ in 0..calls {
            black_box(contestant.log_in().await?);
        }
        Ok(started.elapsed())
    };
    run(WARM_CALLS / 10).await?;
    let allocations = ALLOCATIONS.get();
    let time = run(WARM_CALLS).await?;
    let allocations = (ALLOCATIONS.get() - allocations) as f64 / f64::from(WARM_CALLS);
    let started = Instant::now();
    for _ in 0..WARM_CALLS {
        for clock in [libc::CLOCK_REALTIME_COARSE, libc::CLOCK_MONOTONIC_COARSE] {
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: `time` is a valid timespec that lives through the call.
            unsafe { libc::clock_gettime(clock, &mut time) };
            black_box(time);
        }
    }
    let clocks = started.elapsed();
    let each = |time: Duration| time.as_secs_f64() * 1e9 / f64::from(WARM_CALLS);
    Ok(json!({"ns": each(time), "ns_of_clocks": each(clocks), "allocations": allocations}))
}

/// The throughput of two threads over that of one.
fn threads(contestant: &Contestant) -> Outcome<Value> {
    let run = |threads: usize| -> Outcome<f64> {
        let barrier = std::sync::Barrier::new(threads + 1);
        std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads)
                .map(|_| {
                    scope.spawn(|| -> Outcome<()> {
                        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
                        runtime.block_on(async {
                            contestant.log_in().await?;
                            barrier.wait();
                            for _ in 0..WARM_CALLS {
                                black_box(contestant.log_in().await?);
                            }
                            Ok(())
                        })
                    })
                })
                .collect();
            barrier.wait();
            let started = Instant::now();
            for handle in handles {
                handle.join().map_err(|_| "a thread panicked")??;
            }
            Ok(threads as f64 * f64::from(WARM_CALLS) / started.elapsed().as_secs_f64())
        })
    };
    let one = run(1)?;
    Ok(json!({"ratio": run(2)? / one}))
}

/// Milliseconds from nothing to a token.
async fn first(who: &str) -> Outcome<Value> {
    let started = Instant::now();
    Contestant::new(who)?.log_in().await?;
    Ok(json!({"ms": milliseconds(started.elapsed())}))
}

/// Measures the 99th percentile of 200 callers that request a token at once, without a cached token.
async fn stampede(who: &str) -> Outcome<Value> {
    let contestant = Arc::new(Contestant::new(who)?);
    let barrier = Arc::new(Barrier::new(CALLERS));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (contestant, barrier) = (Arc::clone(&contestant), Arc::clone(&barrier));
        callers.spawn(async move {
            barrier.wait().await;
            let started = Instant::now();
            contestant.log_in().await.map(|()| milliseconds(started.elapsed()))
        });
    }
    let mut times = callers.join_all().await.into_iter().collect::<Outcome<Vec<f64>>>()?;
    times.sort_by(f64::total_cmp);
    Ok(json!({"ms": times[CALLERS * 99 / 100 - 1]}))
}

/// Milliseconds of a call that is made when a line arrives on standard input, after a first one that brought a token.
async fn next(who: &str) -> Outcome<Value> {
    let contestant = Contestant::new(who)?;
    contestant.log_in().await?;
    println!("{}", json!({"ready": true}));
    std::io::stdout().flush()?;
    std::io::stdin().lock().read_line(&mut String::new())?;
    let started = Instant::now();
    let error = contestant.log_in().await.err().map(|error| error.to_string());
    Ok(json!({"ms": milliseconds(started.elapsed()), "error": error}))
}

/// Milliseconds of the default chain's first call, of one right after it, and of another; a line on standard input comes
/// before the last.
async fn chain(who: &str) -> Outcome<Value> {
    let contestant = Contestant::default_chain(who)?;
    let mut calls = Vec::new();
    for round in 0..3 {
        if round > 1 {
            println!("{}", json!({"ready": true}));
            std::io::stdout().flush()?;
            std::io::stdin().lock().read_line(&mut String::new())?;
        }
        let started = Instant::now();
        let error = contestant.log_in().await.err().map(|error| error.to_string());
        calls.push(json!({"ms": milliseconds(started.elapsed()), "error": error}));
    }
    Ok(json!({"calls": calls}))
}

//! Thread pools on which the application's functions are called. These functions may block; the engine's thread is not
//! affected.

use std::{
    cell::Cell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use pgentra::bindings::{PerProcess, start_thread};

/// Calls of completion callbacks and finalizers.
pub static COMPLETIONS: CallbackPool = CallbackPool::new("pgentra-done", 16);

/// Requests to custom credentials.
pub static REQUESTS: CallbackPool = CallbackPool::new("pgentra-request", 64);

/// Log events, on one thread to keep their order.
pub static EVENTS: CallbackPool = CallbackPool::new("pgentra-events", 1);

/// How long a thread without work waits before it ends.
const IDLE_LIMIT: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// A pool of up to `most` threads. A thread starts if all others are busy. Each process has its own threads.
pub struct CallbackPool {
    name: &'static str,
    most: usize,
    here: PerProcess<Arc<Workers>>,
}

#[derive(Default)]
struct Workers {
    state: Mutex<State>,
    arrived: Condvar,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// Idle threads end at once, because a process can run until its last thread ends, after its main thread has ended.
    ending: bool,
    /// The threads that have not been joined. A thread that ends because it was idle removes itself.
    handles: Vec<JoinHandle<()>>,
}

thread_local! {
    /// Whether this is a thread of one of the pools, which must not wait for them.
    static ON_POOL: Cell<bool> = const { Cell::new(false) };
}

impl CallbackPool {
    const fn new(name: &'static str, most: usize) -> Self {
        CallbackPool { name, most, here: PerProcess::new() }
    }

    /// Adds a job, which is run exactly once.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let workers = self.here.get(Arc::default);
        let mut state = lock(&workers.state);
        state.jobs.push_back(Box::new(job));
        if state.jobs.len() <= state.idle {
            workers.arrived.notify_one();
            return;
        }
        if state.threads == self.most {
            return;
        }
        state.threads += 1;
        drop(state);
        let shared = Arc::clone(workers);
        match start_thread(self.name, move || shared.work()) {
            Ok(handle) => lock(&workers.state).handles.push(handle),
            Err(_) => {
                // The system refuses a thread. Another thread of the pool runs the job later; without one, it is run here
                // rather than never.
                let mut state = lock(&workers.state);
                state.threads -= 1;
                if state.threads == 0
                    && let Some(job) = state.jobs.pop_front()
                {
                    drop(state);
                    run(job);
                }
            }
        }
    }

    /// Waits until `deadline` for all jobs that were added so far, and ends the threads that are idle. On a thread of a pool
    /// it does not wait.
    pub fn drain(&self, deadline: Instant) {
        let Some(workers) = self.here.peek() else { return };
        let mut state = lock(&workers.state);
        state.ending = true;
        workers.arrived.notify_all();
        if ON_POOL.get() {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let busy = |state: &mut State| !state.jobs.is_empty() || state.threads > 0;
        let waited = workers.ended.wait_timeout_while(state, left, busy);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.threads > 0 {
            // They are blocked in the application's functions. The process ends without them.
            return;
        }
        let handles = std::mem::take(&mut state.handles);
        drop(state);
        for handle in handles {
            // The thread has left its last job, so it ends at once. Its stack is freed by this call.
            drop(handle.join());
        }
    }
}

impl Workers {
    fn work(&self) {
        ON_POOL.set(true);
        let process = std::process::id();
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                run(job);
                if std::process::id() != process {
                    // The job has forked, and this is the child. A thread of the parent may have held the lock at the fork.
                    return;
                }
                state = lock(&self.state);
                continue;
            }
            state.idle += 1;
            let nothing_to_do = |state: &mut State| state.jobs.is_empty() && !state.ending;
            let waited = self.arrived.wait_timeout_while(state, IDLE_LIMIT, nothing_to_do);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
            if state.jobs.is_empty() {
                state.threads -= 1;
                if !state.ending {
                    // A dropped handle detaches the thread, so that its memory is freed when it ends.
                    let this = std::thread::current().id();
                    state.handles.retain(|handle| handle.thread().id() != this);
                }
                self.ended.notify_all();
                return;
            }
        }
    }
}

fn run(job: Job) {
    // The panic hook has reported the panic; it must not end the thread, which has other jobs.
    let _ = catch_unwind(AssertUnwindSafe(job));
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn callback_pool_with_a_blocked_job_runs_all_others() {
        static POOL: CallbackPool = CallbackPool::new("test", 3);
        let (release, blocked) = channel::<()>();
        let (done, finished) = channel();
        POOL.run(move || assert!(blocked.recv().is_err()));
        for number in 0..20 {
            let done = done.clone();
            POOL.run(move || {
                let _ = done.send(number);
                assert!(number % 7 != 0, "a job may panic");
            });
        }
        for _ in 0..20 {
            finished.recv_timeout(Duration::from_secs(20)).expect("is run");
        }
        POOL.drain(Instant::now());
        drop(release);
        POOL.drain(Instant::now() + Duration::from_secs(20));
        let state = lock(&POOL.here.peek().expect("was used").state);
        assert_eq!((state.jobs.len(), state.threads, state.handles.len()), (0, 0, 0));
    }

    #[test]
    fn callback_pool_after_drain_runs_jobs_and_ends_its_threads() {
        static POOL: CallbackPool = CallbackPool::new("test", 2);
        let (done, finished) = channel();
        for number in 0..3 {
            let done = done.clone();
            POOL.run(move || done.send(number).expect("the test listens"));
            finished.recv_timeout(Duration::from_secs(20)).expect("is run");
            POOL.drain(Instant::now() + Duration::from_secs(20));
            assert_eq!(lock(&POOL.here.peek().expect("was used").state).threads, 0);
        }
    }
}

//! The threads on which the host's functions are called. They may block: the engine goes on meanwhile.

use std::{
    cell::Cell,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use pgentra::bindings::PerProcess;

/// Results of asynchronous calls, and finalizers.
pub static COMPLETIONS: Threads = Threads::new("pgentra-done", 16);

/// Questions to the host's credentials.
pub static QUESTIONS: Threads = Threads::new("pgentra-ask", 64);

/// Events, on one thread so that they keep their order.
pub static EVENTS: Threads = Threads::new("pgentra-events", 1);

/// How long a thread waits for more to do before it ends.
const PATIENCE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Up to `most` threads for jobs, started when all others are busy; a set of them in each process.
pub struct Threads {
    name: &'static str,
    most: usize,
    here: PerProcess<Arc<Crew>>,
}

#[derive(Default)]
struct Crew {
    state: Mutex<State>,
    arrived: Condvar,
    done: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// Idle threads end at once: a process whose main thread has ended goes on until the last thread ends.
    ending: bool,
}

thread_local! {
    /// Of these threads, all: whoever waits for them must not be one.
    static ON_ONE: Cell<bool> = const { Cell::new(false) };
}

impl Threads {
    const fn new(name: &'static str, most: usize) -> Self {
        Threads { name, most, here: PerProcess::new() }
    }

    /// Leaves a job. It is run once, whatever happens.
    pub fn run(&self, job: impl FnOnce() + Send + 'static) {
        let crew = self.here.get(Arc::default);
        let mut state = lock(&crew.state);
        state.jobs.push_back(Box::new(job));
        if state.jobs.len() <= state.idle {
            crew.arrived.notify_one();
            return;
        }
        if state.threads == self.most {
            return;
        }
        state.threads += 1;
        drop(state);
        let members = Arc::clone(crew);
        let started = pgentra::bindings::start_thread(self.name, move || members.work());
        if started.is_ok() {
            return;
        }
        // No thread is to be had. Another one will come to it; if there is none, the job is better run here than never.
        let mut state = lock(&crew.state);
        state.threads -= 1;
        if state.threads == 0
            && let Some(job) = state.jobs.pop_front()
        {
            drop(state);
            run(job);
        }
    }

    /// Waits until `deadline` for all jobs left so far, and ends the threads that are idle. On one of these threads it
    /// does not wait.
    pub fn drain(&self, deadline: Instant) {
        let Some(crew) = self.here.peek() else { return };
        let mut state = lock(&crew.state);
        state.ending = true;
        crew.arrived.notify_all();
        if ON_ONE.get() {
            return;
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let busy = |state: &mut State| !state.jobs.is_empty() || state.idle < state.threads;
        // Whether they are done or not, there is nothing more to be done here.
        drop(crew.done.wait_timeout_while(state, left, busy));
    }
}

impl Crew {
    fn work(&self) {
        ON_ONE.set(true);
        let process = std::process::id();
        let mut state = lock(&self.state);
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                run(job);
                if std::process::id() != process {
                    // The job has forked, and this is the child, where the lock may be held by a thread that is not there.
                    return;
                }
                state = lock(&self.state);
                continue;
            }
            state.idle += 1;
            self.done.notify_all();
            let nothing_to_do = |state: &mut State| state.jobs.is_empty() && !state.ending;
            let waited = self.arrived.wait_timeout_while(state, PATIENCE, nothing_to_do);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
            if state.jobs.is_empty() {
                state.threads -= 1;
                self.done.notify_all();
                return;
            }
        }
    }
}

fn run(job: Job) {
    // The hook has told of the panic; the next job is somebody else's.
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
    fn a_job_that_blocks_holds_up_no_other() {
        static HERE: Threads = Threads::new("test", 3);
        let (release, blocked) = channel::<()>();
        let (done, finished) = channel();
        HERE.run(move || assert!(blocked.recv().is_err()));
        for number in 0..20 {
            let done = done.clone();
            HERE.run(move || {
                let _ = done.send(number);
                assert!(number % 7 != 0, "a job may panic");
            });
        }
        for _ in 0..20 {
            finished.recv_timeout(Duration::from_secs(20)).expect("is run");
        }
        HERE.drain(Instant::now());
        drop(release);
        HERE.drain(Instant::now() + Duration::from_secs(20));
        let state = lock(&HERE.here.peek().expect("was used").state);
        assert_eq!((state.jobs.len(), state.threads), (0, state.idle));
    }
}

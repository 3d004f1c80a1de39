//! The limits of the process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::failure::{Failure, Result};

/// The file descriptors of a session, and those of the program itself.
const OF_SESSION: u64 = 2;
const OF_PROGRAM: u64 = 64;

/// The number of clients whose first message was not read yet, at most and at least. Others wait in the system's queue.
const MAX_OPENINGS: u64 = 1_000;
const MIN_OPENINGS: u64 = 16;

/// Raises the limit of file descriptors to the hard limit and disables core dumps, which could contain a token. Returns
/// how many clients may be in the state before their first message was read.
///
/// # Errors
/// Fails if the number of sessions is not possible with the limit.
pub fn raise(max_connections: u32) -> Result<usize> {
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // A refusal leaves the lower limit, which is checked.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    openings(max_connections, limit)
}

/// Returns how many sessions, at most `most`, are possible with the present limit, and how many clients may be in the
/// state before their first message was read. The limits are not changed, because a child would inherit them.
pub fn within_present(most: u32) -> (u32, usize) {
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let possible = limit.saturating_sub(OF_PROGRAM + MIN_OPENINGS) / OF_SESSION;
    let sessions = u32::try_from(possible).unwrap_or(u32::MAX).clamp(1, most);
    (sessions, openings(sessions, limit).unwrap_or(MIN_OPENINGS as usize))
}

fn openings(max_connections: u32, limit: u64) -> Result<usize> {
    let left = limit.checked_sub(u64::from(max_connections) * OF_SESSION + OF_PROGRAM);
    match left {
        Some(left) if left >= MIN_OPENINGS => Ok(usize::try_from(left.min(MAX_OPENINGS)).unwrap_or(usize::MAX)),
        _ => Err(Failure::usage(
            format!(
                "--max-connections {max_connections} needs {} file descriptors, and this process may open {limit}",
                u64::from(max_connections) * OF_SESSION + OF_PROGRAM + MIN_OPENINGS
            ),
            "Raise the limit (ulimit -n, LimitNOFILE), or pass a smaller --max-connections.",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openings_need_enough_descriptors() {
        assert_eq!(openings(1000, 1 << 20).expect("enough"), 1000);
        assert_eq!(openings(1000, 2100).expect("enough"), 36);
        let failure = openings(1000, 1024).expect_err("refused");
        assert_eq!(
            failure.headline(),
            "--max-connections 1000 needs 2080 file descriptors, and this process may open 1024"
        );
        assert!(openings(1000, 2079).is_err() && openings(1000, 2080).is_ok());
    }
}

//! Credentials that try others in turn.

pub(super) mod chained;
pub(super) mod default;
pub(super) mod unavailable;

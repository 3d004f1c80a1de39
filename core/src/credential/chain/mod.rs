//! Credentials that try others in order.

pub(super) mod chained;
pub(super) mod default;
pub(super) mod unavailable;

//! Microsoft Entra's token endpoint: requests, responses and error codes.

pub(super) mod confidential_client;
pub(crate) mod error_codes;
pub(super) mod region;
pub(super) mod response;
pub(super) mod tenant;
pub(super) mod token_endpoint;

//! The endpoints for health and metrics.

use std::sync::Arc;

use tokio::net::TcpListener;

use super::{arguments::OperationOptions, status::Status};

/// Responds to requests until it is dropped.
pub async fn serve(_listener: TcpListener, _status: Arc<Status>, _options: OperationOptions) {
    std::future::pending().await
}

//! A session in which doctor asks the server.

use std::io;

use bytes::BytesMut;
use pgentra_proxy::{BoxedStream, message::ErrorFields};
use postgres_protocol::message::{backend, frontend};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The longest response to a query.
const MAX_RESPONSE: usize = 1 << 20;

/// A session after the login.
pub struct Session {
    stream: BoxedStream,
    received: BytesMut,
}

/// Why a query has no result.
pub enum QueryError {
    /// The server's error.
    Server(Box<ErrorFields>),
    /// The connection failed.
    Connection(io::Error),
}

impl From<io::Error> for QueryError {
    fn from(error: io::Error) -> Self {
        QueryError::Connection(error)
    }
}

impl std::fmt::Display for QueryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            QueryError::Server(error) => write!(f, "{} ({})", error.message.replace(['\r', '\n'], " "), error.sqlstate),
            QueryError::Connection(error) => error.fmt(f),
        }
    }
}

/// The texts of a row; `None` is NULL.
pub type Row = Vec<Option<String>>;

impl Session {
    /// Starts after a login, and waits until the server is ready.
    pub async fn start(stream: BoxedStream) -> Result<Session, QueryError> {
        let mut session = Session { stream, received: BytesMut::new() };
        session.until_ready().await.map(|_| session)
    }

    /// Returns the rows of one statement.
    pub async fn query(&mut self, statement: &str) -> Result<Vec<Row>, QueryError> {
        let mut message = BytesMut::new();
        frontend::query(statement, &mut message)?;
        self.stream.write_all(&message).await?;
        self.stream.flush().await?;
        self.until_ready().await
    }

    /// Returns the first row, with empty texts in place of NULL.
    pub async fn first(&mut self, statement: &str) -> Result<Option<Vec<String>>, QueryError> {
        let rows = self.query(statement).await?;
        Ok(rows.into_iter().next().map(|row| row.into_iter().map(Option::unwrap_or_default).collect()))
    }

    /// Ends the session.
    pub async fn end(mut self) {
        let mut message = BytesMut::new();
        frontend::terminate(&mut message);
        let _ = self.stream.write_all(&message).await;
        let _ = self.stream.shutdown().await;
    }

    async fn until_ready(&mut self) -> Result<Vec<Row>, QueryError> {
        let (mut rows, mut failure, mut size) = (Vec::new(), None, 0);
        loop {
            // The error's body is copied before the message is consumed.
            let before = self.received.clone();
            match backend::Message::parse(&mut self.received)? {
                Some(backend::Message::ReadyForQuery(_)) => {
                    return failure.map_or(Ok(rows), |error| Err(QueryError::Server(Box::new(error))));
                }
                Some(backend::Message::ErrorResponse(_)) => {
                    let length = before.len() - self.received.len();
                    failure = Some(ErrorFields::parse(before.get(5..length).unwrap_or_default()));
                }
                Some(backend::Message::DataRow(row)) => rows.push(texts(&row)?),
                Some(_) => {}
                None => {
                    let mut buffer = [0; 8192];
                    let count = self.stream.read(&mut buffer).await?;
                    size += count;
                    if count == 0 || size > MAX_RESPONSE {
                        return Err(match failure {
                            Some(error) => QueryError::Server(Box::new(error)),
                            None => QueryError::Connection(io::ErrorKind::UnexpectedEof.into()),
                        });
                    }
                    self.received.extend_from_slice(&buffer[..count]);
                }
            }
        }
    }
}

fn texts(row: &backend::DataRowBody) -> io::Result<Row> {
    use postgres_protocol::message::backend::DataRowBody;
    let buffer = DataRowBody::buffer(row);
    let mut ranges = row.ranges();
    let mut texts = Vec::new();
    while let Some(range) = fallible_iterator::FallibleIterator::next(&mut ranges)? {
        texts.push(range.map(|range| String::from_utf8_lossy(&buffer[range]).into_owned()));
    }
    Ok(texts)
}

//! A forked child whose environment differs from its parent's, as PHP's worker processes have it. One test in this file, so that
//! the harness has no other thread at work.
#![cfg(unix)]

use std::{
    io::{Read, Write},
    net::TcpListener,
    time::Duration,
};

use pgentra::{CachedCredential, CredentialConfig, CredentialContext, credential::TokenRequest};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(20);

fn credential(endpoint: &str, home: Option<&str>) -> std::sync::Arc<CachedCredential> {
    let variables = [("IDENTITY_ENDPOINT", Some(endpoint)), ("IDENTITY_HEADER", Some("canary-h")), ("HOME", home)];
    let set = variables.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.into())));
    let context = CredentialContext { environment: set.collect(), ..CredentialContext::default() };
    let config = CredentialConfig::from_value(json!({"type": "managed_identity"})).expect("a document");
    CachedCredential::new(&config, &context).expect("builds")
}

#[test]
fn fork_child_with_another_home_uses_its_parents_token() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}/token", listener.local_addr().expect("an address"));
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = [0; 4096];
        let _ = stream.read(&mut request);
        let body = r#"{"access_token":"canary","expires_on":"4102444800"}"#;
        let length = body.len();
        write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}").expect("sent");
    });
    let request = TokenRequest::new("https://ossrdbms-aad.database.windows.net/.default");
    credential(&endpoint, Some("/root")).start_token(&request, None).wait(LIMIT).expect("ends").expect("a token");
    // Nothing listens any more: who asks again fails.
    server.join().expect("it answered");

    for home in [None, Some("/home/www")] {
        // SAFETY: the child builds a credential, looks for its token in memory and leaves by `_exit`; the C library makes its
        // allocator usable after a fork of a process with threads.
        match unsafe { libc::fork() } {
            0 => {
                // SAFETY: ends the child should it hang.
                unsafe { libc::alarm(20) };
                let found = matches!(credential(&endpoint, home).try_token(&request), Some(Ok(_)));
                // SAFETY: ends the child without running what belongs to its parent.
                unsafe { libc::_exit(i32::from(!found)) }
            }
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            pid => {
                let mut status = 0;
                // SAFETY: `pid` is our own child and `status` a live integer.
                unsafe { libc::waitpid(pid, &mut status, 0) };
                assert_eq!(status, 0, "the child with HOME {home:?} found no token");
            }
        }
    }
}

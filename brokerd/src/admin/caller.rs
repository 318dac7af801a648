//! Who may administer this node: on a Unix socket its own user and root, on TCP who holds the token. Never lets a
//! request through that it did not check.

use tonic::service::Interceptor;
use tonic::{Request, Status};

use super::incoming::Caller;

/// Checks every request.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    /// `None` on a Unix socket.
    token: Option<String>,
    uid: u32,
}

impl Guard {
    pub(super) fn new(token: Option<String>) -> Self {
        Self { token, uid: rustix::process::geteuid().as_raw() }
    }

    fn admits(&self, caller: Caller, authorization: Option<&[u8]>) -> bool {
        match (caller, &self.token) {
            (Caller::User(uid), None) => uid == self.uid || uid == 0,
            (Caller::Anyone, Some(token)) => {
                let given = authorization.and_then(|value| value.strip_prefix(b"Bearer "));
                given.is_some_and(|given| is_same(given, token.as_bytes()))
            }
            _ => false,
        }
    }
}

impl Interceptor for Guard {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        let caller = request.extensions().get::<Caller>().copied().unwrap_or(Caller::Anyone);
        let authorization = request.metadata().get("authorization").map(|value| value.as_bytes());
        if self.admits(caller, authorization) {
            return Ok(request);
        }
        Err(Status::unauthenticated(match self.token {
            Some(_) => {
                "the token is missing or wrong: it is in the file `token-<port>` of the broker's runtime directory"
            }
            None => "only the broker's own user and root may administer it",
        }))
    }
}

/// Takes the same time wherever the two differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unix_socket_admits_the_brokers_user_and_root_alone() {
        let guard = Guard { token: None, uid: 1000 };
        assert!(guard.admits(Caller::User(1000), None));
        assert!(guard.admits(Caller::User(0), None));
        assert!(!guard.admits(Caller::User(1001), None));
        assert!(!guard.admits(Caller::Anyone, None));
    }

    #[test]
    fn tcp_admits_the_exact_token_alone() {
        let guard = Guard { token: Some("secret".into()), uid: 1000 };
        assert!(guard.admits(Caller::Anyone, Some(b"Bearer secret")));
        for wrong in [&b"Bearer secreT"[..], b"Bearer secret ", b"Bearer ", b"secret", b"Basic secret", b""] {
            assert!(!guard.admits(Caller::Anyone, Some(wrong)), "{wrong:?} was admitted");
        }
        assert!(!guard.admits(Caller::Anyone, None));
    }
}

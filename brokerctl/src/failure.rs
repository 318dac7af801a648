//! Why a command did not do what was asked, and the exit code of each. Never prints.

use std::error::Error;
use std::fmt;
use std::io;

use proto::admin::Silent;
use tonic::{Code, Status};

use crate::output::printable;

/// A command that did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 1
    Failed(String),
    /// 2
    Usage(String),
    /// 3: these members are up and did not answer.
    Partial(Vec<Silent>),
    /// 4
    NotFound(String),
    /// 5
    Unauthorised(String),
    /// 6
    Unreachable(String),
    /// 0: whoever read our output has seen enough.
    Closed,
}

impl Failure {
    /// All who did not do it said why.
    pub(crate) fn refused(by: &[Silent]) -> Self {
        let each: Vec<_> = by.iter().map(|one| format!("`{}`: {}", one.node, one.reason)).collect();
        Self::Failed(each.join("; "))
    }

    pub(crate) const fn code(&self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Partial(_) => 3,
            Self::NotFound(_) => 4,
            Self::Unauthorised(_) => 5,
            Self::Unreachable(_) => 6,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(why) | Self::Usage(why) | Self::NotFound(why) => f.write_str(&printable(why)),
            Self::Unauthorised(why) | Self::Unreachable(why) => f.write_str(&printable(why)),
            Self::Partial(silent) => {
                let each = |silent: &Silent| format!("`{}`: {}", silent.node, silent.reason);
                let each: Vec<_> = silent.iter().map(each).collect();
                write!(f, "no answer from {}", printable(&each.join("; ")))
            }
            Self::Closed => Ok(()),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Closed;
        }
        Self::Failed(format!("cannot write the answer: {error}"))
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        io::Error::from(error).into()
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        // An error that has a source arose on this side: the other end broke off, or does not speak gRPC.
        if let Some(source) = status.source() {
            let mut deepest = source;
            while let Some(source) = deepest.source() {
                deepest = source;
            }
            return Self::Unreachable(format!("the connection to the broker broke off: {deepest}"));
        }
        let message = status.message().to_owned();
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => Self::Unauthorised(message),
            Code::NotFound => Self::NotFound(message),
            Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled => Self::Unreachable(message),
            Code::Unimplemented => {
                Self::Failed("the broker is of another version and does not know this command".into())
            }
            _ => Self::Failed(message),
        }
    }
}

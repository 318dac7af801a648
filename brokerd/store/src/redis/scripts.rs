//! The scripts that the server runs. Never what they are given.

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Script {
    /// Parts of batches. The server refuses it where it has no memory left.
    Apply,
    /// The same, of changes that do not need memory for long.
    Lessen,
    Claim,
    Expire,
    Sweep,
    Fetch,
    Waiting,
}

const COMMON: &str = include_str!("lua/common.lua");

impl Script {
    pub(super) const ALL: [Self; 7] =
        [Self::Apply, Self::Lessen, Self::Claim, Self::Expire, Self::Sweep, Self::Fetch, Self::Waiting];

    pub(super) fn source(self) -> String {
        let (flags, common, text) = match self {
            Self::Apply => ("", COMMON, include_str!("lua/apply.lua")),
            Self::Lessen => (" flags=allow-oom", COMMON, include_str!("lua/apply.lua")),
            Self::Claim => ("", COMMON, include_str!("lua/claim.lua")),
            Self::Expire => (" flags=allow-oom", COMMON, include_str!("lua/expire.lua")),
            Self::Sweep => (" flags=allow-oom", COMMON, include_str!("lua/sweep.lua")),
            Self::Fetch => (" flags=no-writes", "", include_str!("lua/fetch.lua")),
            Self::Waiting => (" flags=no-writes", "", include_str!("lua/waiting.lua")),
        };
        format!("#!lua{flags}\n{common}{text}")
    }
}

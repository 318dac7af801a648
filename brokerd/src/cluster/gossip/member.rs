//! What a node says of itself by gossip: five short keys, and their strict reading. What else it says is of a later
//! version, and passed over. Never decides who is up.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;

use chitchat::{Chitchat, ChitchatId, NodeState};
use hashbrown::HashSet;

const MAX_NAME: usize = 255;
const MAX_VERSION: usize = 64;
const MAX_SECRETS: usize = 64;

pub(super) const KEY_PROTOCOL: &str = "v";
pub(super) const KEY_STATE: &str = "st";
pub(super) const KEY_ROUTES: &str = "rt";
pub(super) const KEY_SOFTWARE: &str = "sw";
/// Not there in the first version.
pub(super) const KEY_SECRETS: &str = "sk";

/// What a node says of its own state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishedState {
    /// Not yet in sync.
    Joining,
    /// In sync and serving.
    Ready,
    /// On its way out.
    Leaving,
}

impl PublishedState {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Ready => "ready",
            Self::Leaving => "leaving",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Joining, Self::Ready, Self::Leaving].into_iter().find(|state| state.as_str() == text)
    }
}

/// Where a node's route table stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RouteHead {
    /// The generation of the node that counts the versions.
    pub generation: u64,
    /// Changes since its start.
    pub version: u64,
    /// Over all rows, whatever their order.
    pub hash: u128,
}

impl fmt::Display for RouteHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{:032x}", self.generation, self.version, self.hash)
    }
}

impl FromStr for RouteHead {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (generation, rest) = text.split_once(':')?;
            let (version, hash) = rest.split_once(':')?;
            let head = Self {
                generation: generation.parse().ok()?,
                version: version.parse().ok()?,
                hash: u128::from_str_radix(hash, 16).ok()?,
            };
            // Only the one spelling that we write: no signs, no leading zeros.
            (head.to_string() == text).then_some(head)
        };
        parse().ok_or("`rt` is not generation:version:hash")
    }
}

/// A node as gossip shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GossipMember {
    /// Its name.
    pub name: String,
    /// Rises at every start of it.
    pub generation: u64,
    /// Its gossip (UDP) and peers (TCP).
    pub address: SocketAddr,
    /// What it says of its state.
    pub state: PublishedState,
    /// Its peer protocol.
    pub protocol: u32,
    /// Its software.
    pub version: String,
    /// The ids of its secrets, the one in use first; empty where it does not tell.
    pub secrets: String,
    /// Its route table.
    pub head: RouteHead,
    /// Whether the failure detector hears of it.
    pub alive: bool,
}

/// By name; of a name the highest generation. Includes this node, and dead ones until gossip forgets them.
pub type Members = Arc<BTreeMap<String, GossipMember>>;

/// Nodes that say something unreadable, by name, and what.
pub(super) type Unusable = BTreeMap<String, String>;

/// All that chitchat knows, read strictly.
pub(super) fn view(chitchat: &Chitchat) -> (BTreeMap<String, GossipMember>, Unusable) {
    let alive: HashSet<&ChitchatId> = chitchat.live_nodes().collect();
    let (mut members, mut unusable) = (BTreeMap::<String, GossipMember>::new(), Unusable::new());
    for (id, state) in chitchat.node_states() {
        if state.num_key_values() == 0 {
            continue; // heard of; its keys are under way
        }
        match read(id, state, alive.contains(id)) {
            Ok(member) => {
                let is_newer = members.get(&member.name).is_none_or(|known| known.generation < member.generation);
                if is_newer {
                    members.insert(member.name.clone(), member);
                }
            }
            Err(reason) => {
                unusable.insert(id.node_id.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect(), reason);
            }
        }
    }
    (members, unusable)
}

/// How many keys are known, of all nodes and of all their starts that are not forgotten.
pub(super) fn keys(chitchat: &Chitchat) -> u64 {
    chitchat.node_states().values().map(|state| state.num_key_values() as u64).sum()
}

fn read(id: &ChitchatId, state: &NodeState, alive: bool) -> Result<GossipMember, String> {
    let key = |key: &str| state.get(key).ok_or_else(|| format!("`{key}` is missing"));
    let name = id.node_id.to_string();
    if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
        return Err("its name is empty, too long, or holds control characters".to_owned());
    }
    let protocol = key(KEY_PROTOCOL)?.parse().map_err(|_| "`v` is not a number".to_owned())?;
    let published = PublishedState::parse(key(KEY_STATE)?).ok_or("`st` is not a state")?;
    let version = key(KEY_SOFTWARE)?;
    if version.len() > MAX_VERSION || !version.chars().all(|c| c.is_ascii_graphic()) {
        return Err("`sw` is not a version".to_owned());
    }
    let secrets = state.get(KEY_SECRETS).unwrap_or_default();
    if secrets.len() > MAX_SECRETS || !secrets.chars().all(|c| c.is_ascii_hexdigit() || c == ',') {
        return Err("`sk` is not a list of ids".to_owned());
    }
    Ok(GossipMember {
        name,
        secrets: secrets.to_owned(),
        generation: id.generation_id,
        address: id.gossip_advertise_addr,
        state: published,
        protocol,
        version: version.to_owned(),
        head: key(KEY_ROUTES)?.parse()?,
        alive,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_reads_back_and_nothing_else_reads_as_one() {
        let head = RouteHead { generation: 7, version: 9, hash: 0xabc };
        assert_eq!(head.to_string().parse(), Ok(head));
        for wrong in ["", "1:2", "1:2:3", "+7:9:00000000000000000000000000000abc", "7:9:x", "7:9:00:1"] {
            assert!(wrong.parse::<RouteHead>().is_err(), "`{wrong}` was read as a head");
        }
    }
}

//! How two nodes find out in which part their sets differ: the topics are dealt to buckets, and each bucket has the sum
//! of the digests of its messages. Deletions count nothing. All of it must be the same in every version.

use super::Stamp;

/// Parts of a set. 32 KiB of sums, and a few hundred topics in each where a million is retained.
pub const BUCKETS: usize = 4096;

/// The sums of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// Of all buckets.
    pub total: u64,
    /// Of each.
    pub buckets: Vec<u64>,
}

impl Default for Digests {
    fn default() -> Self {
        Self { total: 0, buckets: vec![0; BUCKETS] }
    }
}

impl Digests {
    pub(super) fn add(&mut self, topic: &[u8], digest: u64) {
        self.total = self.total.wrapping_add(digest);
        let sum = &mut self.buckets[bucket(topic)];
        *sum = sum.wrapping_add(digest);
    }

    pub(super) fn subtract(&mut self, topic: &[u8], digest: u64) {
        self.add(topic, digest.wrapping_neg());
    }

    /// The buckets in which another set differs.
    #[must_use]
    pub fn differing(&self, theirs: &[u64]) -> Buckets {
        let mut differing = Buckets::default();
        let pairs = self.buckets.iter().zip(theirs);
        for (bucket, _) in pairs.enumerate().filter(|(_, (own, their))| own != their) {
            differing.insert(bucket);
        }
        differing
    }
}

/// A set of buckets, a bit each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets(Box<[u8]>);

impl Default for Buckets {
    fn default() -> Self {
        Self(vec![0; BUCKETS / 8].into())
    }
}

impl Buckets {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![0xff; BUCKETS / 8].into())
    }

    /// As they are sent; `None` where these bytes are no such set.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == BUCKETS / 8).then(|| Self(bytes.into()))
    }

    /// As they are sent.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// How many these are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn insert(&mut self, bucket: usize) {
        self.0[bucket / 8] |= 1 << (bucket % 8);
    }

    pub(super) fn has(&self, topic: &[u8]) -> bool {
        let bucket = bucket(topic);
        self.0[bucket / 8] & 1 << (bucket % 8) != 0
    }
}

/// FNV-1a: cheap, and written down in one line.
fn bucket(topic: &[u8]) -> usize {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = topic.iter().fold(0xcbf2_9ce4_8422_2325, fold);
    usize::try_from((hash ^ hash >> 32) % BUCKETS as u64).unwrap_or(0)
}

/// What a message adds. Clients choose topics: nobody may find two that cancel each other out.
pub(super) fn digest(topic: &[u8], stamp: Stamp) -> u64 {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(&stamp.hlc.to_be_bytes());
    context.update(&stamp.node.to_be_bytes());
    context.update(topic);
    u64::from_be_bytes(context.finish().as_ref().first_chunk::<8>().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_compare_is_the_same_in_every_version() {
        // Literals, not computed: a change of them is a change of the protocol.
        assert_eq!((bucket(b""), bucket(b"a/b"), bucket(b"plant/7/temp")), (4033, 3192, 1456));
        assert_eq!(digest(b"a/b", Stamp { hlc: 1, node: 2 }), 0x6962_55c0_2b5a_06b4);
    }

    #[test]
    fn sums_do_not_know_the_order_and_a_difference_names_its_bucket() {
        let (mut one, mut other) = (Digests::default(), Digests::default());
        for topic in [b"a", b"b", b"c"] {
            one.add(topic, u64::MAX - 3);
        }
        for topic in [b"c", b"a", b"b"] {
            other.add(topic, u64::MAX - 3);
        }
        assert_eq!(one, other);
        other.subtract(b"b", u64::MAX - 3);
        let differing = one.differing(&other.buckets);
        assert!(differing.len() == 1 && differing.has(b"b") && !differing.has(b"a"));
        assert_eq!(Buckets::from_bytes(differing.as_bytes()), Some(differing));
        assert_eq!((Buckets::from_bytes(&[0; 3]), Buckets::all().len()), (None, BUCKETS));
    }
}

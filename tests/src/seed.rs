//! Chance that can be repeated. Prints the seed it was given; never reads the clock after that.

use std::time::{SystemTime, UNIX_EPOCH};

/// A small generator (splitmix64). Good enough to shake a broker, not for secrets.
#[derive(Clone, Debug)]
pub struct Seeded(u64);

impl Seeded {
    /// From `BROKERD_TEST_SEED`, or a new one. Either way it is printed, so that a failure can be repeated.
    #[must_use]
    pub fn announce(subject: &str) -> Self {
        let chosen = std::env::var("BROKERD_TEST_SEED").ok().and_then(|text| text.parse().ok());
        let seed = chosen.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            now.as_nanos() as u64
        });
        println!("{subject}: repeat with BROKERD_TEST_SEED={seed}");
        Self(seed)
    }

    /// From this seed.
    #[must_use]
    pub const fn from(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed itself, before anything was drawn from it.
    #[must_use]
    pub const fn first(&self) -> u64 {
        self.0
    }

    /// A generator of its own, for a task whose turns are not ours to order.
    #[must_use]
    pub const fn child(&mut self) -> Self {
        Self(self.next())
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub const fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// One of the given.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// That many bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.next() as u8).collect()
    }

    /// In another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

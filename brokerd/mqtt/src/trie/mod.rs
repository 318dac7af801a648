//! A map from topic filter to value that answers which filters a topic matches. Never recurses, so no filter is too
//! deep for it, and never judges a filter: that is `topic`'s part.
//!
//! A radix tree over levels. A filter that shares no further level with another is a *leaf*: it costs its entry and
//! one edge, whatever its depth. A *node* stands where filters part, so there are fewer nodes than filters. Entries
//! lie dense in a vector; the edges of all nodes share one map, keyed by (node, next level).

mod edges;
mod edit;
mod level;
mod matching;
#[cfg(test)]
mod tests;

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use edges::Edges;
use foldhash::quality::RandomState;
use level::{begins_with, first_level};

const ROOT: u32 = 0;
/// No entry, no child.
const NONE: u32 = u32::MAX;
/// Set in a child that is a node, clear in one that is a leaf; the rest is its place in `nodes` or `entries`, which
/// 31 bits hold: that many filters would be 200 GB.
const NODE: u32 = 1 << 31;
/// Set in `Entry::home` where the filter ends at that node itself.
const OWN: u32 = 1 << 31;

/// Filters and their values.
#[derive(Debug)]
pub struct Trie<V> {
    entries: Vec<Entry<V>>,
    nodes: Vec<Node>,
    /// Head of the list of unused nodes, which is linked through `parent`.
    free: u32,
    /// Children by (parent, first level of their label), except those under `+` and `#`.
    edges: Edges,
    hasher: RandomState,
}

#[derive(Debug)]
struct Entry<V> {
    filter: Arc<str>,
    /// The node it hangs under, or with [`OWN`] the one it ends at.
    home: u32,
    /// Of its edge: kept so that growing the table touches no text.
    hash: u32,
    value: V,
}

#[derive(Debug)]
struct Node {
    /// The levels between the parent and this node: one or more, joined by `/`.
    label: Box<str>,
    parent: u32,
    hash: u32,
    /// Where the rest of a filter begins that passes through this node.
    depth: u32,
    /// The entry whose filter ends here.
    own: u32,
    plus: u32,
    multi: u32,
    /// How many children, those under `+` and `#` included.
    children: u32,
    /// The exclusive or of all children: with one left, that child.
    mixed: u32,
}

impl Node {
    fn new(label: Box<str>, depth: u32) -> Self {
        Self { label, parent: ROOT, hash: 0, depth, own: NONE, plus: NONE, multi: NONE, children: 0, mixed: 0 }
    }
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            nodes: vec![Node::new("".into(), 0)],
            free: NONE,
            edges: Edges::default(),
            hasher: RandomState::default(),
        }
    }
}

impl<V> Trie<V> {
    /// How many filters it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a filter.
    #[must_use]
    pub fn get(&self, filter: &str) -> Option<&V> {
        self.find(filter).map(|id| &self.entries[id as usize].value)
    }

    /// The value of a filter, to change.
    pub fn get_mut(&mut self, filter: &str) -> Option<&mut V> {
        self.find(filter).map(|id| &mut self.entries[id as usize].value)
    }

    /// Sets the value of a filter, whose text it shares, and answers the one it had.
    pub fn insert(&mut self, filter: &Arc<str>, value: V) -> Option<V> {
        if let Some(known) = self.get_mut(filter) {
            return Some(std::mem::replace(known, value));
        }
        self.place(filter, || value);
        None
    }

    /// The value of a filter, made first where there is none.
    pub fn get_or_insert_with(&mut self, filter: &Arc<str>, make: impl FnOnce() -> V) -> &mut V {
        let id = self.place(filter, make);
        &mut self.entries[id as usize].value
    }

    /// Removes a filter.
    pub fn remove(&mut self, filter: &str) -> Option<V> {
        let id = self.find(filter)?;
        let home = self.entries[id as usize].home;
        if home & OWN == 0 {
            self.unlink(home, id);
        } else {
            self.nodes[(home & !OWN) as usize].own = NONE;
        }
        self.collapse(home & !OWN);
        let value = self.take_entry(id);
        self.give_back_memory();
        Some(value)
    }

    /// The filter at a position below [`Trie::len`]. A removal moves the last one to the freed position and moves no
    /// other, so a walk from the end to the start meets all that were there throughout, between changes too.
    #[must_use]
    pub fn at(&self, position: usize) -> Option<(&Arc<str>, &V)> {
        self.entries.get(position).map(|entry| (&entry.filter, &entry.value))
    }

    /// As [`Trie::at`], to change the value.
    pub fn at_mut(&mut self, position: usize) -> Option<(&Arc<str>, &mut V)> {
        self.entries.get_mut(position).map(|entry| (&entry.filter, &mut entry.value))
    }

    fn find(&self, filter: &str) -> Option<u32> {
        let (mut node, mut at) = (ROOT, 0);
        loop {
            let Some(rest) = filter.get(at..) else {
                return Some(self.nodes[node as usize].own).filter(|own| *own != NONE);
            };
            let child = self.child(node, first_level(rest))?;
            if child & NODE == 0 {
                return (self.entries[child as usize].filter.get(at..) == Some(rest)).then_some(child);
            }
            node = child & !NODE;
            if !begins_with(rest, &self.nodes[node as usize].label) {
                return None;
            }
            at = self.nodes[node as usize].depth as usize;
        }
    }

    /// The child of `node` whose label begins with `level`.
    fn child(&self, node: u32, level: &str) -> Option<u32> {
        let place = &self.nodes[node as usize];
        match level {
            "+" => Some(place.plus).filter(|child| *child != NONE),
            "#" => Some(place.multi).filter(|child| *child != NONE),
            _ => self.edges.find(self.hash(node, level), |child| self.is_under(child, node, level)),
        }
    }

    fn is_under(&self, child: u32, node: u32, level: &str) -> bool {
        if child & NODE != 0 {
            let place = &self.nodes[(child & !NODE) as usize];
            return place.parent == node && begins_with(&place.label, level);
        }
        let entry = &self.entries[child as usize];
        entry.home == node && begins_with(&entry.filter[self.nodes[node as usize].depth as usize..], level)
    }

    fn hash(&self, node: u32, level: &str) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u32(node);
        hasher.write(level.as_bytes());
        // The low half: both halves of a `quality` hash are evenly spread.
        hasher.finish() as u32
    }
}

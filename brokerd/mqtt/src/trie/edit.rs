//! How the tree is grown and pruned. Never compares a topic.

use std::sync::Arc;

use super::level::{common_levels, first_level};
use super::{Entry, NODE, NONE, Node, OWN, ROOT, Trie};

impl<V> Trie<V> {
    /// The entry of a filter; a new one, with the value that `make` gives, where there is none.
    pub(super) fn place(&mut self, filter: &Arc<str>, make: impl FnOnce() -> V) -> u32 {
        let (mut node, mut at) = (ROOT, 0);
        loop {
            let Some(rest) = filter.get(at..) else {
                let own = self.nodes[node as usize].own;
                if own != NONE {
                    return own;
                }
                let id = self.push(filter, node | OWN, make);
                self.nodes[node as usize].own = id;
                return id;
            };
            let Some(child) = self.child(node, first_level(rest)) else {
                let id = self.push(filter, node, make);
                self.link(node, id);
                return id;
            };
            let label = self.label(child, at);
            let common = common_levels(label, rest);
            if child & NODE == 0 {
                if common == label.len() && common == rest.len() {
                    return child;
                }
                node = self.split(node, child, common);
            } else if common == label.len() {
                node = child & !NODE;
            } else {
                node = self.split(node, child, common);
            }
            at = self.nodes[node as usize].depth as usize;
        }
    }

    /// What a child adds to its parent, whose depth is `at`.
    fn label(&self, child: u32, at: usize) -> &str {
        if child & NODE == 0 {
            &self.entries[child as usize].filter[at..]
        } else {
            &self.nodes[(child & !NODE) as usize].label
        }
    }

    fn push(&mut self, filter: &Arc<str>, home: u32, make: impl FnOnce() -> V) -> u32 {
        let entry = Entry { filter: Arc::clone(filter), home, hash: 0, value: make() };
        self.entries.push(entry);
        self.entries.len() as u32 - 1
    }

    /// Puts a node between `parent` and `child`, `common` bytes into the child's label.
    fn split(&mut self, parent: u32, child: u32, common: usize) -> u32 {
        let at = self.nodes[parent as usize].depth as usize;
        let label = self.label(child, at);
        let rest = label.get(common + 1..).map(Box::<str>::from);
        let new = Node::new(label[..common].into(), (at + common + 1) as u32);
        let node = self.add_node(new);
        self.replace(parent, child, node | NODE);
        match rest {
            None => {
                // Only a leaf can end here: a node's label is longer than what it shares, or it is not split.
                self.nodes[node as usize].own = child;
                self.entries[child as usize].home = node | OWN;
            }
            Some(rest) => {
                if child & NODE != 0 {
                    self.nodes[(child & !NODE) as usize].label = rest;
                }
                self.link(node, child);
            }
        }
        node
    }

    /// Takes a node away that no longer parts anything, after one of its children or its own entry has gone.
    pub(super) fn collapse(&mut self, node: u32) {
        let place = &self.nodes[node as usize];
        if node == ROOT || place.children + u32::from(place.own != NONE) > 1 {
            return;
        }
        let (parent, own) = (place.parent, place.own);
        let heir = if own == NONE { place.mixed } else { own };
        if own == NONE {
            self.unlink(node, heir);
        }
        self.replace(parent, node | NODE, heir);
        let label = std::mem::take(&mut self.nodes[node as usize].label);
        if heir & NODE != 0 {
            let place = &mut self.nodes[(heir & !NODE) as usize];
            place.label = [&*label, &*place.label].join("/").into();
        }
        self.nodes[node as usize].parent = self.free;
        self.free = node;
    }

    /// Hangs a child under a node.
    fn link(&mut self, node: u32, child: u32) {
        let at = self.nodes[node as usize].depth as usize;
        let level = first_level(self.label(child, at));
        let wild = match level {
            "+" => Some(true),
            "#" => Some(false),
            _ => None,
        };
        let hash = if wild.is_none() { self.hash(node, level) } else { 0 };
        self.set_home(child, node, hash);
        let place = &mut self.nodes[node as usize];
        place.children += 1;
        place.mixed ^= child;
        match wild {
            Some(true) => place.plus = child,
            Some(false) => place.multi = child,
            None => {
                let Self { edges, entries, nodes, .. } = self;
                edges.insert(hash, child, |child| hash_of(entries, nodes, child));
            }
        }
    }

    /// Takes a child from under a node.
    pub(super) fn unlink(&mut self, node: u32, child: u32) {
        let place = &mut self.nodes[node as usize];
        place.children -= 1;
        place.mixed ^= child;
        if place.plus == child {
            place.plus = NONE;
        } else if place.multi == child {
            place.multi = NONE;
        } else {
            let Self { edges, entries, nodes, .. } = self;
            edges.remove(hash_of(entries, nodes, child), child, |child| hash_of(entries, nodes, child));
        }
    }

    /// Puts `new`, whose label begins with the same level, in the place of `old` under `node`.
    fn replace(&mut self, node: u32, old: u32, new: u32) {
        let hash = hash_of(&self.entries, &self.nodes, old);
        self.set_home(new, node, hash);
        self.rename(node, hash, old, new);
    }

    fn rename(&mut self, node: u32, hash: u32, old: u32, new: u32) {
        let place = &mut self.nodes[node as usize];
        place.mixed ^= old ^ new;
        if place.plus == old {
            place.plus = new;
        } else if place.multi == old {
            place.multi = new;
        } else {
            self.edges.rename(hash, old, new);
        }
    }

    fn set_home(&mut self, child: u32, parent: u32, hash: u32) {
        if child & NODE == 0 {
            let entry = &mut self.entries[child as usize];
            (entry.home, entry.hash) = (parent, hash);
        } else {
            let place = &mut self.nodes[(child & !NODE) as usize];
            (place.parent, place.hash) = (parent, hash);
        }
    }

    fn add_node(&mut self, node: Node) -> u32 {
        if self.free == NONE {
            self.nodes.push(node);
            return self.nodes.len() as u32 - 1;
        }
        let id = self.free;
        self.free = self.nodes[id as usize].parent;
        self.nodes[id as usize] = node;
        id
    }

    /// Removes an entry that nothing points to, and moves the last one to its place.
    pub(super) fn take_entry(&mut self, id: u32) -> V {
        let removed = self.entries.swap_remove(id as usize);
        let last = self.entries.len() as u32;
        if id != last {
            let Entry { home, hash, .. } = self.entries[id as usize];
            if home & OWN == 0 {
                self.rename(home, hash, last, id);
            } else {
                self.nodes[(home & !OWN) as usize].own = id;
            }
        }
        removed.value
    }

    /// Shrinks what is mostly empty. Each step costs less than the removals since the last one; as it makes all wait
    /// who match, nodes wait for it until few filters are left.
    pub(super) fn give_back_memory(&mut self) {
        if self.nodes.len() > 8 * self.entries.len() + 64 {
            self.rebuild();
        }
        if self.entries.capacity() > 4 * self.entries.len() + 16 {
            self.entries.shrink_to(2 * self.entries.len());
        }
    }

    /// Makes the nodes anew: they cannot move, for their children know them by place. Entries keep their positions.
    fn rebuild(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        let hasher = self.hasher.clone();
        *self = Self { entries: Vec::with_capacity(entries.len()), hasher, ..Self::default() };
        for entry in entries {
            self.place(&entry.filter, || entry.value);
        }
    }
}

fn hash_of<V>(entries: &[Entry<V>], nodes: &[Node], child: u32) -> u32 {
    if child & NODE == 0 { entries[child as usize].hash } else { nodes[(child & !NODE) as usize].hash }
}

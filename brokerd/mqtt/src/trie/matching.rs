//! Which filters a topic matches (5.0 section 4.7). Never changes the tree.

use super::{NODE, NONE, ROOT, Trie};

impl<V> Trie<V> {
    /// Calls `visit` with the value of each filter that `topic` matches, in no order. A filter that begins with a
    /// wildcard does not match a topic that begins with `$` [MQTT-4.7.2-1].
    pub fn matches<'a>(&'a self, topic: &str, mut visit: impl FnMut(&'a V)) {
        // What is still to be looked at under a `+`: at most one node a level, as the literal branch goes on at once.
        let mut waiting = Vec::new();
        let mut next = Some((ROOT, 0));
        while let Some((node, at)) = next.take().or_else(|| waiting.pop()) {
            let place = &self.nodes[node as usize];
            let hidden = node == ROOT && topic.starts_with('$');
            if place.multi != NONE && !hidden {
                // Nothing follows `#`, so what hangs under it is a leaf; it also matches the parent level.
                self.follow(place.multi, topic, at, &mut visit);
            }
            let Some(rest) = topic.get(at..) else {
                if let Some(entry) = self.entries.get(place.own as usize) {
                    visit(&entry.value);
                }
                continue;
            };
            if place.plus != NONE && !hidden {
                waiting.extend(self.follow(place.plus, topic, at, &mut visit));
            }
            let level = super::first_level(rest);
            // A topic holds no wildcard; were it to, it must not meet one twice.
            if level != "+" && level != "#" {
                next = self.child(node, level).and_then(|child| self.follow(child, topic, at, &mut visit));
            }
        }
    }

    /// Visits a leaf that matches the rest of the topic, or answers the node to go on from, and where.
    fn follow<'a>(&'a self, child: u32, topic: &str, at: usize, visit: &mut impl FnMut(&'a V)) -> Option<(u32, usize)> {
        if child & NODE == 0 {
            let entry = &self.entries[child as usize];
            let start = self.nodes[entry.home as usize].depth as usize;
            if pass(&entry.filter[start..], topic, at)? > topic.len() {
                visit(&entry.value);
            }
            return None;
        }
        let node = child & !NODE;
        Some((node, pass(&self.nodes[node as usize].label, topic, at)?))
    }
}

/// Where the topic goes on after it has matched all levels of `label`; past its end where none is left.
fn pass(label: &str, topic: &str, mut at: usize) -> Option<usize> {
    for wanted in label.split('/') {
        if wanted == "#" {
            return Some(topic.len() + 1);
        }
        let level = super::first_level(topic.get(at..)?);
        if wanted != "+" && wanted != level {
            return None;
        }
        at += level.len() + 1;
    }
    Some(at)
}

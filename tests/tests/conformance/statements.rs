//! Which normative statements each specification makes: the numbers alone, so that a table that misses one is found.
//!
//! Owns the lists. Never says what a statement asks: the tables in `docs` do.

/// A specification and the table that answers it.
pub(crate) struct Specification {
    pub(crate) name: &'static str,
    pub(crate) table: &'static str,
    pub(crate) sections: &'static [Section],
}

/// The statements of a section: 1 to `highest`, but for `gaps`, numbers that the specification does not use.
pub(crate) struct Section {
    pub(crate) number: &'static str,
    pub(crate) highest: u16,
    pub(crate) gaps: &'static [u16],
}

impl Specification {
    /// The id of every statement, in the order of the specification: `MQTT-1.5.3-1`, and so on.
    pub(crate) fn ids(&self) -> Vec<String> {
        let of = |section: &Section| -> Vec<String> {
            let numbers = (1..=section.highest).filter(|n| !section.gaps.contains(n));
            numbers.map(|n| format!("MQTT-{}-{n}", section.number)).collect()
        };
        self.sections.iter().flat_map(of).collect()
    }
}

pub(crate) const fn section(number: &'static str, highest: u16) -> Section {
    Section { number, highest, gaps: &[] }
}

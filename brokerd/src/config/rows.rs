//! Lists of tables, as in `[[rewrite]]`. Owns the checks of one row's fields; never knows what they mean.

use super::notation::is_filter;
use super::value::Value;

/// Rows of a list: each is looked at for many packets.
pub(super) const MOST: usize = 256;

/// One table of a list.
pub(super) struct Row<'a> {
    fields: &'a [(String, Value)],
    /// Fields that were asked for.
    known: Vec<&'static str>,
}

impl<'a> Row<'a> {
    pub(super) fn new(fields: &'a [(String, Value)]) -> Self {
        Self { fields, known: Vec::new() }
    }

    fn get(&mut self, name: &'static str) -> Option<&'a Value> {
        self.known.push(name);
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// A text; `None` where it is not given.
    pub(super) fn text(&mut self, name: &'static str) -> Result<Option<&'a str>, String> {
        match self.get(name) {
            Some(Value::Text(text)) if !text.is_empty() && text.len() <= 65_535 && !text.contains('\0') => {
                Ok(Some(text))
            }
            None => Ok(None),
            Some(other) => Err(format!("{name} = {other}: allowed is a text")),
        }
    }

    /// A text that must be given.
    pub(super) fn needed(&mut self, name: &'static str) -> Result<&'a str, String> {
        self.text(name)?.ok_or_else(|| format!("{name} is missing"))
    }

    /// A topic filter that must be given.
    pub(super) fn filter(&mut self, name: &'static str) -> Result<&'a str, String> {
        let filter = self.needed(name)?;
        if is_filter(filter) { Ok(filter) } else { Err(format!("{name} = \"{filter}\" is not a topic filter")) }
    }

    pub(super) fn boolean(&mut self, name: &'static str) -> Result<bool, String> {
        match self.get(name) {
            Some(Value::Boolean(yes)) => Ok(*yes),
            None => Ok(false),
            Some(other) => Err(format!("{name} = {other}: allowed is true or false")),
        }
    }

    /// 0, 1 or 2; 0 where it is not given.
    pub(super) fn up_to_two(&mut self, name: &'static str) -> Result<u8, String> {
        match self.get(name) {
            Some(Value::Integer(number @ 0..=2)) => Ok(u8::try_from(*number).unwrap_or(0)),
            None => Ok(0),
            Some(other) => Err(format!("{name} = {other}: allowed is an integer from 0 to 2")),
        }
    }

    /// 1 to 255, which must be given.
    pub(super) fn priority(&mut self, name: &'static str) -> Result<u8, String> {
        match self.get(name) {
            Some(Value::Integer(number @ 1..=255)) => Ok(u8::try_from(*number).unwrap_or(1)),
            None => Err(format!("{name} is missing")),
            Some(other) => Err(format!("{name} = {other}: allowed is an integer from 1 to 255")),
        }
    }

    /// The last step: what was not asked for does not exist.
    pub(super) fn finish(self) -> Result<(), String> {
        match self.fields.iter().find(|(name, _)| !self.known.contains(&name.as_str())) {
            Some((name, _)) => Err(format!("{name} is unknown; there are {}", self.known.join(", "))),
            None => Ok(()),
        }
    }
}

//! Values as they stand in a source. Owns the way from TOML and back to text; never knows a key.

use std::fmt;

use toml::de::DeValue;

/// A value of a file, or of an environment variable or flag read as TOML.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Self>),
    /// A table with nothing in it; one with keys is known by its keys.
    EmptyTable,
    /// A table in a list.
    Table(Vec<(String, Self)>),
    /// What no key takes: a float, a date, a number beyond 64 bits.
    Other(String),
}

impl Value {
    pub(super) fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(digits) => i64::from_str_radix(digits.as_str(), digits.radix())
                .map_or_else(|_| Self::Other(digits.to_string()), Self::Integer),
            DeValue::Boolean(yes) => Self::Boolean(*yes),
            DeValue::Array(items) => Self::List(items.iter().map(|item| Self::from_toml(item.get_ref())).collect()),
            DeValue::Table(table) if table.is_empty() => Self::EmptyTable,
            DeValue::Table(table) => {
                let field = |(name, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
                    let name: &std::borrow::Cow<'_, str> = name.get_ref();
                    (name.to_string(), Self::from_toml(value.get_ref()))
                };
                Self::Table(table.iter().map(field).collect())
            }
            DeValue::Float(digits) => Self::Other(digits.to_string()),
            DeValue::Datetime(date) => Self::Other(date.to_string()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "\"{text}\""),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(yes) => write!(f, "{yes}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    let comma = if at == 0 { "" } else { ", " };
                    write!(f, "{comma}{item}")?;
                }
                f.write_str("]")
            }
            Self::EmptyTable | Self::Table(_) => f.write_str("a table"),
            Self::Other(text) => f.write_str(text),
        }
    }
}

//! State that most sessions do not have most of the time: without memory until it is first changed. Never gives memory
//! back on its own: [`Session::rest`](super::Session::rest) does.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// A value that is read as [`Empty::EMPTY`] until it is first changed. Reaching for it mutably makes it.
pub(super) struct Lazy<T>(Option<Box<T>>);

/// What has an empty value to be read before there is one.
pub(super) trait Empty: Default + 'static {
    /// It.
    const EMPTY: &'static Self;

    /// Whether nothing would be lost with it.
    fn is_empty(&self) -> bool;
}

impl<T: Empty> Lazy<T> {
    /// The value, if there is one: to change what is there and make nothing.
    pub(super) fn existing(&mut self) -> Option<&mut T> {
        self.0.as_deref_mut()
    }

    /// Whether there is none, so that it takes no memory.
    pub(super) const fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// Gives the memory back if the value is empty.
    pub(super) fn rest(&mut self) {
        self.0.take_if(|value| value.is_empty());
    }
}

impl<T: Empty> Default for Lazy<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Empty> From<T> for Lazy<T> {
    fn from(value: T) -> Self {
        Self((!value.is_empty()).then(|| Box::new(value)))
    }
}

impl<T: Empty> Deref for Lazy<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::EMPTY)
    }
}

impl<T: Empty> DerefMut for Lazy<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Empty + fmt::Debug> fmt::Debug for Lazy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

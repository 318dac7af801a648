//! What the session asks for, as lines.

use super::super::{Event, Message};
use crate::Time;

/// A message, as a line.
pub(super) fn message(message: &Message, now: Time) -> String {
    let payload = String::from_utf8_lossy(message.payload()).into_owned();
    let retain = if message.retain { " retain" } else { "" };
    let expiry = message.seconds_left(now).map_or_else(String::new, |seconds| format!(" expiry={seconds}"));
    format!("{}={payload} q{}{retain}{expiry}", message.topic(), message.qos as u8)
}

/// What the session asks for, as a line.
pub(super) fn event(event: &Event, now: Time) -> String {
    match event {
        Event::Publish(publish, None) => format!("publish {}", message(publish, now)),
        Event::Publish(publish, Some(token)) => format!("publish {} token {token}", message(publish, now)),
        Event::Subscribe(id, requested) => {
            let one = |one: &super::Requested| match &one.outcome {
                Ok(granted) if one.is_new => format!("{} new", granted.filter),
                Ok(granted) => granted.filter.to_string(),
                Err(reason) => format!("{:#04x}", *reason as u8),
            };
            format!("subscribe #{id} {}", requested.iter().map(one).collect::<Vec<_>>().join(", "))
        }
        Event::Unsubscribe(gone) => {
            let filters: Vec<&str> = gone.iter().map(|granted| &*granted.filter).collect();
            format!("unsubscribe {}", filters.join(", "))
        }
        Event::Authenticate { begins, data } => {
            let data = data.as_deref().map(String::from_utf8_lossy);
            format!("authenticate{} {data:?}", if *begins { " anew" } else { "" })
        }
        Event::Close(closing) => format!("close {closing:?}"),
    }
}

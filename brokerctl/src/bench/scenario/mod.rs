//! The scenarios: the flags, the steps and the report of each. Never knows how packets travel.

pub(crate) mod connections;
mod draining;
pub(crate) mod handshakes;
pub(crate) mod held;
pub(crate) mod messages;
pub(crate) mod offline;
pub(crate) mod retained;
pub(crate) mod subscriptions;

use super::fleet::Fleet;
use super::process::now;
use super::traffic::pause;
use crate::failure::Failure;

/// A fleet without connections.
fn fleet() -> Result<Fleet, Failure> {
    Fleet::new().map_err(|error| Failure::Failed(format!("epoll: {error}")))
}

/// Lets a broker's memory come to rest: there is no event for that. Connections that break meanwhile are counted.
fn settle(fleet: &mut Fleet, time: std::time::Duration) -> Result<u64, Failure> {
    let (until, mut broken) = (now() + time.as_nanos() as u64, 0);
    while now() < until {
        let left = std::time::Duration::from_nanos(until.saturating_sub(now()));
        let turned = fleet.turn(left, &mut |_, event, _| {
            broken += u64::from(matches!(event, super::fleet::Event::Closed(_)));
        });
        turned.map_err(|error| Failure::Failed(format!("epoll: {error}")))?;
        if fleet.open() == 0 {
            pause(std::time::Duration::from_nanos(until.saturating_sub(now())));
        }
    }
    Ok(broken)
}

//! Waiting for what another process does. The only place in the tests that polls; never waits without a deadline.

use std::future::Future;
use std::time::{Duration, Instant};

/// How long anything that should happen at once may take on a loaded machine.
pub const SOON: Duration = Duration::from_secs(10);

const INTERVAL: Duration = Duration::from_millis(20);

/// Asks until the answer is `Ok`, and returns it. Panics with the last `Err` when the deadline has passed.
pub async fn eventually<T>(deadline: Duration, what: &str, mut ask: impl AsyncFnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        let answer = ask().await;
        match answer {
            Ok(value) => return value,
            Err(last) if started.elapsed() >= deadline => {
                panic!("not within {deadline:?}: {what}\nlast answer: {last}")
            }
            Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}

/// Awaits one thing, for at most [`SOON`].
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    within(SOON, what, future).await
}

/// Awaits one thing, for at most `deadline`.
pub async fn within<T>(deadline: Duration, what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(deadline, future).await {
        Ok(value) => value,
        Err(_) => panic!("not within {deadline:?}: {what}"),
    }
}

//! Checks passwords, away from the threads that serve clients: so many at a time, so many waiting, and the next is told
//! that the server is busy. Never knows whose password it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::PasswordVerifier;
use argon2::password_hash::phc::PasswordHash;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Denied;

/// The pool.
pub(super) struct Verifier {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
    most_waiting: usize,
}

/// One that waits, until dropped: also where its connection gave up.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Verifier {
    /// `threads` of 0 is half of the cores: the other half serves those who are in.
    pub(super) fn new(threads: usize, most_waiting: usize) -> Self {
        let half = || std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        let threads = if threads == 0 { half() } else { threads };
        Self { permits: Arc::new(Semaphore::new(threads)), waiting: AtomicUsize::new(0), most_waiting }
    }

    /// Whether the password fits the hash; the comparison takes the same time wherever they differ.
    pub(super) async fn verify(&self, hash: Arc<str>, password: Box<[u8]>) -> Result<bool, Denied> {
        self.run(move || {
            let Ok(hash) = PasswordHash::new(&hash) else { return false };
            argon2::Argon2::default().verify_password(&password, &hash).is_ok()
        })
        .await
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Denied> {
        let permit = self.permit().await?;
        let work = move || {
            let done = work();
            drop(permit); // not before the work is done, also where nobody waits for its answer any more
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Denied::Busy)
    }

    async fn permit(&self) -> Result<OwnedSemaphorePermit, Denied> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let is_room = |waiting| (waiting < self.most_waiting).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, is_room).map_err(|_| Denied::Busy)?;
        let _place = Place(&self.waiting);
        self.permits.clone().acquire_owned().await.map_err(|_| Denied::Busy)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::task::Poll;

    use super::*;

    /// Polls once.
    async fn poll<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Option<T> {
        std::future::poll_fn(|cx| {
            Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            })
        })
        .await
    }

    #[tokio::test]
    async fn beyond_threads_and_queue_the_next_one_is_told_that_the_server_is_busy() {
        let verifier = Verifier::new(2, 3);
        let running: Vec<_> = [verifier.permit().await.unwrap(), verifier.permit().await.unwrap()].into();
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(verifier.permit())).collect();
        for one in &mut waiting {
            assert!(poll(one).await.is_none(), "there was room for a third at a time");
        }
        assert_eq!(verifier.permit().await.unwrap_err(), Denied::Busy);
        drop(waiting.pop()); // a client that gave up
        let mut late = Box::pin(verifier.permit());
        assert!(poll(&mut late).await.is_none(), "the place of the one that gave up was not free");
        assert_eq!(verifier.permit().await.unwrap_err(), Denied::Busy);
        drop(running);
        assert!(poll(&mut waiting[0]).await.unwrap().is_ok(), "the first in the queue is the next");
    }

    #[tokio::test]
    async fn a_check_that_nobody_waits_for_any_more_still_counts_as_one() {
        let verifier = Verifier::new(1, 0);
        let (go_on, wait) = std::sync::mpsc::sync_channel::<()>(0);
        let mut check = Box::pin(verifier.run(move || wait.recv()));
        assert!(poll(&mut check).await.is_none());
        drop(check);
        assert_eq!(verifier.permit().await.unwrap_err(), Denied::Busy);
        drop(go_on);
        let _permit = verifier.permits.clone().acquire_owned().await.unwrap(); // free when the work is done
    }

    #[tokio::test]
    async fn the_right_password_fits_and_another_does_not() {
        use argon2::password_hash::PasswordHasher;
        let cheap = argon2::Params::new(8, 1, 1, None).unwrap();
        let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cheap);
        let hash: PasswordHash = argon2.hash_password(b"right").unwrap();
        let verifier = Verifier::new(1, 1);
        let fits = async |password: &[u8]| verifier.verify(hash.to_string().into(), password.into()).await.unwrap();
        assert!(fits(b"right").await);
        assert!(!fits(b"wrong").await && !fits(b"").await && !fits(b"right ").await);
    }
}

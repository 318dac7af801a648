//! The queue and the committer, before a backend that fails when told to. Time is paused: nothing waits for real.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use mqtt::MessageId;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::*;
use crate::backend::*;
use crate::record::Sid;
use crate::stats::BackendStats;

/// `memory`, but the next commits answer as they are told.
#[derive(Debug)]
struct Told {
    inner: Arc<dyn Backend>,
    answers: Mutex<VecDeque<StoreError>>,
    /// Batches of each commit.
    commits: Mutex<Vec<usize>>,
    /// How many claims went together.
    claims: Mutex<Vec<usize>>,
    /// Never answers a claim.
    is_stuck: bool,
}

#[async_trait]
impl Backend for Told {
    fn caps(&self) -> Caps {
        self.inner.caps()
    }
    async fn apply(&self, batches: &[&[Op]], is_durable: bool) -> Result<Vec<Outcome>, StoreError> {
        let told = self.answers.lock().pop_front();
        self.commits.lock().push(batches.len());
        match told {
            Some(error) => Err(error),
            None => self.inner.apply(batches, is_durable).await,
        }
    }
    async fn claim(&self, claim: &Claim) -> Result<Claimed, StoreError> {
        if self.is_stuck {
            std::future::pending::<()>().await;
        }
        self.inner.claim(claim).await
    }
    async fn claim_all(&self, claims: &[Claim]) -> Vec<Result<Claimed, StoreError>> {
        self.claims.lock().push(claims.len());
        let mut results = Vec::new();
        for claim in claims {
            results.push(self.claim(claim).await);
        }
        results
    }
    async fn fetch(&self, sid: Sid, after: u64, n: usize, bytes: usize) -> Result<Vec<Stored>, StoreError> {
        self.inner.fetch(sid, after, n, bytes).await
    }
    async fn scan_sessions(&self, a: Option<Sid>, n: usize, q: bool) -> Result<Page<SessionHead, Sid>, StoreError> {
        self.inner.scan_sessions(a, n, q).await
    }
    async fn scan_retained(&self, after: Option<&str>, n: usize) -> Result<Page<Retained, Box<str>>, StoreError> {
        self.inner.scan_retained(after, n).await
    }
    async fn scan_delayed(&self, a: Option<MessageId>, n: usize) -> Result<Page<Delayed, MessageId>, StoreError> {
        self.inner.scan_delayed(a, n).await
    }
    async fn expire(&self, now: UnixMillis, limit: usize) -> Result<Expired, StoreError> {
        self.inner.expire(now, limit).await
    }
    async fn maintain(&self) -> Result<bool, StoreError> {
        self.inner.maintain().await
    }
    fn stats(&self) -> BackendStats {
        self.inner.stats()
    }
}

/// Settings with this bound get a backend that hangs.
const STUCK: usize = 77;

fn store(settings: Settings, answers: impl IntoIterator<Item = StoreError>) -> (Store, Arc<Told>) {
    let answers = Mutex::new(answers.into_iter().collect());
    let told = Arc::new(Told {
        inner: crate::memory(),
        answers,
        commits: Mutex::default(),
        claims: Mutex::default(),
        is_stuck: settings.max_ops == STUCK,
    });
    (Store::remote(told.clone(), settings, &tokio::runtime::Handle::current()), told)
}

fn batch() -> (Batch, oneshot::Receiver<Result<Outcome, StoreError>>) {
    let (answer, answered) = oneshot::channel();
    let done = Box::new(move |result| {
        let _ = answer.send(result);
    });
    (Batch { ops: vec![Op::DropDelayed(MessageId::default())], done }, answered)
}

fn submit(store: &Store) -> oneshot::Receiver<Result<Outcome, StoreError>> {
    let (batch, answered) = batch();
    store.submit(batch).unwrap();
    answered
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("no route".into())
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_one_commit() {
    let (store, told) = store(Settings::default(), []);
    let answers: Vec<_> = (0..50).map(|_| submit(&store)).collect();
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Ok(Outcome::default()));
    }
    assert_eq!(*told.commits.lock(), [50]);
    let stats = store.stats();
    assert_eq!((stats.commits, stats.batches, stats.ops, stats.queued_ops), (1, 50, 50, 0));
    assert_eq!(stats.commit_micros.iter().sum::<u64>(), 1);
}

#[tokio::test(start_paused = true)]
async fn every_makes_each_batch_a_commit() {
    let (store, told) = store(Settings { commit: Commit::Every, ..Settings::default() }, []);
    let answers: Vec<_> = (0..5).map(|_| submit(&store)).collect();
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(*told.commits.lock(), [1; 5]);
}

#[tokio::test(start_paused = true)]
async fn none_is_done_before_it_is_committed() {
    let (store, told) = store(Settings { commit: Commit::None, ..Settings::default() }, []);
    let mut answer = submit(&store);
    assert!(answer.try_recv().unwrap().is_ok());
    assert!(told.commits.lock().is_empty());
    store.flush().await.unwrap();
    assert!(!told.commits.lock().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_says_so_early_and_gives_the_batch_back() {
    let (store, _) = store(Settings { max_ops: 10, ..Settings::default() }, []);
    let mut answers: Vec<_> = (0..4).map(|_| submit(&store)).collect();
    assert!(!store.is_full());
    answers.extend((0..6).map(|_| submit(&store)));
    assert!(store.is_full(), "half is enough to stop reading publishers");
    let (one, mut answer) = batch();
    assert_eq!(store.submit(one).unwrap_err().ops.len(), 1);
    assert!(answer.try_recv().is_err(), "it is not done, and not failed: the caller has it");
    assert_eq!(store.stats().refused, 1);
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    assert!(!store.is_full());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_moment_is_tried_again_with_the_same_batch() {
    let (store, told) = store(Settings::default(), [unavailable(), unavailable()]);
    let answer = submit(&store);
    assert_eq!(answer.await.unwrap(), Ok(Outcome::default()));
    assert_eq!(*told.commits.lock(), [1, 1, 1]);
    assert_eq!((store.state(), store.stats().retries, store.stats().failed), (State::Ok, 2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_is_said_in_time_and_gets_what_waited_when_it_is_back() {
    let (store, told) = store(Settings::default(), std::iter::repeat_n(unavailable(), 1000));
    let (tell, mut hears) = tokio::sync::mpsc::channel(1000);
    store.when_late(move || tell.try_send(()).unwrap());
    let begin = tokio::time::Instant::now();
    let (mut first, mut second) = (submit(&store), submit(&store));
    hears.recv().await.unwrap();
    assert!(begin.elapsed() <= Settings::default().timeout);
    assert_eq!(store.state(), State::Down("no route".into()));
    hears.recv().await.unwrap();
    assert!(begin.elapsed() <= 2 * Settings::default().timeout, "and who came later is told");
    let mut third = submit(&store);
    for answer in [&mut first, &mut second, &mut third] {
        assert!(answer.try_recv().is_err(), "what became of it is not known");
    }
    told.answers.lock().clear();
    for answer in [first, second, third] {
        assert_eq!(answer.await.unwrap(), Ok(Outcome::default()));
    }
    assert_eq!(*told.commits.lock().last().unwrap(), 1, "the third came after what was tried again");
    assert_eq!((store.state(), store.stats().failed), (State::Ok, 0), "no restart is needed");
}

#[tokio::test(start_paused = true)]
async fn who_asks_something_while_a_batch_is_tried_again_is_answered_at_once() {
    let (store, told) = store(Settings::default(), std::iter::repeat_n(unavailable(), 1000));
    let claim =
        || store.claim(Claim { client_id: "one".into(), epoch: 1, node: "a".into(), is_clean: false, held: None });
    let batch = submit(&store);
    let begin = tokio::time::Instant::now();
    assert_eq!(claim().await, Err(unavailable()), "it stood behind the batch when this failed first");
    assert_eq!((claim().await, store.flush().await), (Err(unavailable()), Err(unavailable())), "it is known by now");
    assert!(begin.elapsed() < Settings::default().timeout, "{:?}", begin.elapsed());
    told.answers.lock().clear();
    batch.await.unwrap().unwrap();
    assert!(claim().await.is_ok() && store.flush().await.is_ok());
    assert_eq!(store.stats().queued_ops, 0);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_closed_while_its_server_is_away_gives_up() {
    let (store, _) = store(Settings::default(), std::iter::repeat_n(unavailable(), 1000));
    let answer = submit(&store);
    drop(store);
    assert_eq!(answer.await.unwrap(), Err(unavailable()));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_away_is_found_again_while_nobody_asks_for_anything() {
    let (store, told) = store(Settings::default(), std::iter::repeat_n(unavailable(), 1000));
    assert!(store.flush().await.is_err());
    tokio::time::sleep(Settings::default().timeout).await;
    assert_eq!(store.state(), State::Down("no route".into()));
    told.answers.lock().clear();
    tokio::time::sleep(Settings::default().timeout).await;
    assert_eq!(store.state(), State::Ok);
    let asked = told.commits.lock().len();
    tokio::time::sleep(Settings::default().timeout).await;
    assert_eq!(told.commits.lock().len(), asked, "a store that is well is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_failed_for_good_is_not_asked_again() {
    let dead = StoreError::Down("fsync failed".into());
    let (store, told) = store(Settings::default(), [dead.clone()]);
    assert_eq!(submit(&store).await.unwrap(), Err(dead.clone()));
    for _ in 0..3 {
        assert_eq!(submit(&store).await.unwrap(), Err(dead.clone()));
    }
    let claim = Claim { client_id: "one".into(), epoch: 1, node: "a".into(), is_clean: false, held: None };
    assert_eq!(store.claim(claim).await, Err(dead.clone()));
    assert_eq!(store.flush().await, Err(dead));
    assert_eq!((told.commits.lock().len(), store.stats().failed), (1, 4));
    assert_eq!(store.state(), State::Down("fsync failed".into()));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_is_down_until_it_answers() {
    let (store, _) = store(Settings { max_ops: STUCK, ..Settings::default() }, []);
    let claim = Claim { client_id: "one".into(), epoch: 1, node: "a".into(), is_clean: false, held: None };
    let asked = tokio::time::timeout(Settings::default().timeout * 2, store.claim(claim)).await;
    assert!(asked.is_err());
    assert_eq!(store.state(), State::Down("it has not answered for 10 s".into()));
}

#[tokio::test(start_paused = true)]
async fn claims_that_wait_go_together_but_not_two_of_one_client_nor_before_what_was_submitted_first() {
    let (store, told) = store(Settings::default(), []);
    let claim = |client: &str, epoch| {
        store.claim(Claim { client_id: client.into(), epoch, node: "a".into(), is_clean: false, held: None })
    };
    let batch = async { submit(&store).await.unwrap() };
    let (first, second, later, batch, other) =
        tokio::join!(claim("one", 1), claim("two", 1), claim("one", 2), batch, claim("three", 1));
    assert_eq!(first.unwrap().sid, later.unwrap().sid);
    assert!(second.is_ok() && other.is_ok() && batch.is_ok());
    assert_eq!((told.claims.lock().clone(), told.commits.lock().clone()), (vec![2, 1, 1], vec![1]));
}

#[tokio::test(start_paused = true)]
async fn who_was_refused_hears_when_something_was_taken() {
    let (store, _) = store(Settings { max_ops: 1, ..Settings::default() }, []);
    let (heard, mut hears) = tokio::sync::mpsc::channel(4);
    let tell = |name: &'static str| {
        let heard = heard.clone();
        move || {
            heard.try_send(name).unwrap();
        }
    };
    store.when_taken(tell("nothing waits"));
    assert_eq!(hears.try_recv(), Ok("nothing waits"));
    let taken = submit(&store);
    assert!(store.submit(batch().0).is_err());
    store.when_taken(tell("refused"));
    assert!(hears.try_recv().is_err(), "nothing was taken yet");
    taken.await.unwrap().unwrap();
    assert_eq!(hears.try_recv(), Ok("refused"));
    assert!(store.submit(batch().0).is_ok());
}

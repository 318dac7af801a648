//! The listeners of a node at run time: started, stopped, drained, restarted, and given new certificates. Owns their
//! sockets; nothing it does is kept over a restart of the node.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex as Lock, RwLock};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bind::{BindError, Bound, bind};
use super::certificate::{self, Certificate, Loaded};
use super::{Clients, Listener, State, accept};
use crate::config;

/// Between two looks at the files of certificates.
const LOOK: Duration = Duration::from_secs(60);

/// Why a listener does not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// There is none of this name.
    #[error("not_found")]
    NotFound,
    /// Start of one that accepts.
    #[error("already_started")]
    AlreadyStarted,
    /// Stop or drain of one that does not accept.
    #[error("not_started")]
    NotStarted,
    /// Its address cannot be had.
    #[error("{0}")]
    Bind(io::Error),
}

/// All listeners of a node.
pub struct Listeners {
    all: Vec<Managed>,
    clients: Arc<dyn Clients>,
    tasks: TaskTracker,
    ending: CancellationToken,
    /// What the last look at the files found wrong, so that it is said once.
    complaint: Lock<Option<String>>,
}

struct Managed {
    listener: Arc<Listener>,
    /// Held while it is told what to do: one order after the other.
    socket: Mutex<Socket>,
}

enum Socket {
    Bound(Bound),
    Listening(CancellationToken, tokio::task::JoinHandle<()>),
    Closed,
}

impl Listeners {
    /// Takes the address of every listener and reads its certificates. Nothing listens yet: see [`Self::open`].
    ///
    /// # Errors
    /// At the first address or file that cannot be had, with its key.
    pub fn bind(config: &config::Listeners, clients: Arc<dyn Clients>) -> Result<Self, BindError> {
        let all = config.0.values().map(managed).collect::<Result<_, _>>()?;
        Ok(Self {
            all,
            clients,
            tasks: TaskTracker::new(),
            ending: CancellationToken::new(),
            complaint: Lock::default(),
        })
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Listener>> {
        self.all.iter().map(|managed| &managed.listener)
    }

    /// Begins to listen everywhere, and to look at the files of certificates.
    ///
    /// # Errors
    /// If a socket cannot listen.
    pub async fn open(self: &Arc<Self>) -> io::Result<()> {
        for managed in &self.all {
            let mut socket = managed.socket.lock().await;
            self.listen(managed, &mut socket)?;
        }
        let (this, ending) = (self.clone(), self.ending.clone());
        self.tasks.spawn(async move {
            while tokio::time::timeout(LOOK, ending.cancelled()).await.is_err() {
                this.reload_changed().await;
            }
        });
        Ok(())
    }

    /// Closes everywhere, for good; clients stay.
    pub async fn close(&self) {
        self.ending.cancel();
        for managed in &self.all {
            let mut socket = managed.socket.lock().await;
            hang_up(&mut socket).await;
            managed.listener.set_state(State::Drained);
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    fn listen(&self, managed: &Managed, socket: &mut Socket) -> io::Result<()> {
        let listener = managed.listener.clone();
        let bound = match std::mem::replace(socket, Socket::Closed) {
            Socket::Bound(bound) => bound,
            _ => bind(&listener.config.bind)?,
        };
        let listening = bound.listen(listener.config.backlog)?;
        let (stop, clients) = (self.ending.child_token(), self.clients.clone());
        listener.set_state(State::Running);
        let stopped = stop.clone();
        let task = self.tasks.spawn(async move {
            tokio::select! {
                () = accept::accept(&listening, &listener, &*clients) => {}
                () = stopped.cancelled() => {}
            }
        });
        *socket = Socket::Listening(stop, task);
        Ok(())
    }

    fn find(&self, id: &str) -> Result<&Managed, ControlError> {
        self.all.iter().find(|managed| managed.listener.id() == id).ok_or(ControlError::NotFound)
    }

    /// Lets one accept again.
    ///
    /// # Errors
    /// If it accepts, or its address cannot be had.
    pub async fn start(&self, id: &str) -> Result<(), ControlError> {
        let managed = self.find(id)?;
        let mut socket = managed.socket.lock().await;
        if matches!(*socket, Socket::Listening(..)) {
            return Err(ControlError::AlreadyStarted);
        }
        self.listen(managed, &mut socket).map_err(ControlError::Bind)
    }

    /// Closes one and keeps its clients.
    ///
    /// # Errors
    /// If it does not accept.
    pub async fn drain(&self, id: &str) -> Result<(), ControlError> {
        let managed = self.find(id)?;
        let mut socket = managed.socket.lock().await;
        if !hang_up(&mut socket).await {
            return Err(ControlError::NotStarted);
        }
        managed.listener.set_state(State::Drained);
        Ok(())
    }

    /// Closes one and sends its clients away (5.0: DISCONNECT 0x8B, so that they try elsewhere).
    ///
    /// # Errors
    /// If it is stopped already.
    pub async fn stop(&self, id: &str) -> Result<(), ControlError> {
        let managed = self.find(id)?;
        let mut socket = managed.socket.lock().await;
        if !hang_up(&mut socket).await && managed.listener.state() == State::Stopped {
            return Err(ControlError::NotStarted);
        }
        managed.listener.set_state(State::Stopped);
        managed.listener.cut_off();
        self.clients.send_cut_off_away().await;
        Ok(())
    }

    /// Stops one, if it is not, and starts it.
    ///
    /// # Errors
    /// If its address cannot be had.
    pub async fn restart(&self, id: &str) -> Result<(), ControlError> {
        match self.stop(id).await {
            Ok(()) | Err(ControlError::NotStarted) => self.start(id).await,
            Err(error) => Err(error),
        }
    }

    /// Reads the certificates of all listeners again. New connections get the new ones; those that are there keep
    /// theirs. All or nothing: where one is wrong, all stay as they are.
    ///
    /// # Errors
    /// The listener, the key, the file, and what is wrong.
    pub async fn reload_certificates(&self) -> Result<Vec<Certificate>, String> {
        let mut loaded = Vec::new();
        for (listener, lock) in self.with_tls() {
            let (kind, Some(tls)) = (listener.config.kind, &listener.config.tls) else { continue };
            // Reading a file may block this thread for the time of a disk access, which is rare and short.
            let new = certificate::load(kind, tls, Some(&lock.read()));
            loaded.push(new.map_err(|error| wrong(&listener.config, error).to_string())?);
        }
        for ((_, lock), new) in self.with_tls().zip(loaded) {
            *lock.write() = new;
        }
        Ok(self.certificates())
    }

    /// The certificates in use.
    pub fn certificates(&self) -> Vec<Certificate> {
        let certificate = |(listener, lock): (&Arc<Listener>, &RwLock<Loaded>)| Certificate {
            listener: listener.id(),
            file: listener.config.tls.as_ref().map(|tls| tls.certificate.clone()).unwrap_or_default(),
            expires: lock.read().expires,
        };
        self.with_tls().map(certificate).collect()
    }

    fn with_tls(&self) -> impl Iterator<Item = (&Arc<Listener>, &RwLock<Loaded>)> {
        self.iter().filter_map(|listener| Some((listener, listener.tls.as_ref()?)))
    }

    /// Reloads if a file is not what it was.
    async fn reload_changed(&self) {
        if !self.with_tls().any(|(_, loaded)| loaded.read().is_stale()) {
            return;
        }
        match self.reload_certificates().await {
            Ok(_) => {
                *self.complaint.lock() = None;
                tracing::info!("certificates have changed: new connections get the new ones");
            }
            Err(why) => {
                let mut complaint = self.complaint.lock();
                if complaint.as_ref() != Some(&why) {
                    tracing::error!("certificates have changed, the old ones stay: {why}");
                    *complaint = Some(why);
                }
            }
        }
    }
}

fn managed(config: &config::Listener) -> Result<Managed, BindError> {
    let load = |tls| certificate::load(config.kind, tls, None).map_err(|error| wrong(config, error));
    let tls = config.tls.as_ref().map(load).transpose()?;
    let bound = bind(&config.bind).map_err(|error| BindError {
        kind: config.kind,
        name: config.name.clone(),
        key: if matches!(config.bind, config::Bind::Path { .. }) { "socket" } else { "bind" },
        value: config.bind.to_string(),
        why: error.to_string(),
    })?;
    let bind = bound.resolved(config.bind.clone());
    let listener = Arc::new(Listener::new(config::Listener { bind, ..config.clone() }, tls));
    Ok(Managed { listener, socket: Mutex::new(Socket::Bound(bound)) })
}

fn wrong(config: &config::Listener, (key, path, why): (&'static str, std::path::PathBuf, String)) -> BindError {
    BindError { kind: config.kind, name: config.name.clone(), key, value: path.display().to_string(), why }
}

/// Closes a socket. Answers whether it was listening.
async fn hang_up(socket: &mut Socket) -> bool {
    match std::mem::replace(socket, Socket::Closed) {
        Socket::Listening(stop, task) => {
            stop.cancel();
            let _ = task.await; // it ends at once; then the address is free
            true
        }
        Socket::Bound(_) | Socket::Closed => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::path::Path;

    use super::*;
    use crate::config::{Machine, Sources};

    fn issue(directory: &Path) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(directory.join("c.pem"), made.cert.pem()).unwrap();
        std::fs::write(directory.join("k.pem"), made.signing_key.serialize_pem()).unwrap();
    }

    struct Nobody;

    impl Clients for Nobody {
        fn accept(&self, _: crate::transport::StdSocket, _: super::super::Connected) {}
        fn send_cut_off_away(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
            Box::pin(std::future::ready(()))
        }
    }

    #[tokio::test]
    async fn files_that_change_are_read_again_and_a_wrong_one_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        issue(directory.path());
        let at = directory.path().display();
        let set = vec![
            "listeners.tls.a.bind=127.0.0.1:0".into(),
            format!("listeners.tls.a.certificate={at}/c.pem"),
            format!("listeners.tls.a.key={at}/k.pem"),
            format!("node.data_dir={at}/data"),
        ];
        let machine = Machine { host_name: "n1".into(), root: false };
        let config = config::load(&Sources { set, machine, ..Sources::default() }).unwrap();
        let listeners = Listeners::bind(&config.listeners, Arc::new(Nobody)).unwrap();
        let served = || listeners.iter().find_map(|listener| listener.tls()).unwrap();
        let first = served();
        listeners.reload_changed().await;
        assert!(Arc::ptr_eq(&first, &served()), "nothing changed");
        issue(directory.path());
        listeners.reload_changed().await;
        let second = served();
        assert!(!Arc::ptr_eq(&first, &second), "the new certificate is not served");
        assert!(Arc::ptr_eq(&first.ticketer, &second.ticketer), "clients cannot go on with their tickets");
        std::fs::write(directory.path().join("c.pem"), "nothing").unwrap();
        listeners.reload_changed().await;
        assert!(Arc::ptr_eq(&second, &served()), "a broken file took the certificate away");
        assert!(listeners.complaint.lock().as_ref().is_some_and(|why| why.contains("listeners.tls.a.certificate")));
    }
}

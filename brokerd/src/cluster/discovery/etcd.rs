//! Peers by etcd: each node keeps its address under a key with a lease, and reads those of the others. Speaks to the JSON
//! gateway of its version 3 API, which every etcd since 3.4 serves. Never touches a key outside its prefix.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use serde_json::{Value, json};

use super::{Discovery, Found, MOST, Own, http, in_time, shown};
use crate::config;
use crate::registry::Boxed;

/// For one endpoint; another is tried after it.
const ENDPOINT: Duration = Duration::from_secs(2);

pub(super) struct Etcd {
    settings: config::Etcd,
    /// `prefix/cluster/`
    folder: String,
    node: String,
    address: SocketAddr,
    /// Of this node's key, as etcd names it: kept alive by every look.
    lease: Option<String>,
}

impl Etcd {
    pub(super) fn new(settings: config::Etcd, own: &Own) -> Self {
        let folder = format!("{}/{}/", settings.prefix, own.cluster);
        Self { settings, folder, node: own.node.clone(), address: own.address, lease: None }
    }

    /// By the first endpoint that answers.
    async fn ask(&mut self) -> Result<Vec<SocketAddr>, String> {
        let mut troubles = Vec::new();
        for at in 0..self.settings.endpoints.len() {
            match in_time(ENDPOINT, self.ask_at(at)).await {
                Ok(found) => return Ok(found),
                Err(why) => troubles.push(format!("{}: {why}", self.settings.endpoints[at])),
            }
        }
        Err(troubles.join("; "))
    }

    async fn ask_at(&mut self, at: usize) -> Result<Vec<SocketAddr>, String> {
        let token = self.token(at).await?;
        if !self.is_kept_alive(at, &token).await? {
            // Before it reads: of two nodes that start at the same moment one sees the other.
            self.register(at, &token).await?;
        }
        let mut rows = self.read(at, &token).await?;
        let is_listed = rows.iter().any(|(node, address)| *node == self.node && *address == self.address);
        if !is_listed {
            self.register(at, &token).await?; // somebody removed the key, or wrote another address
            rows.push((self.node.clone(), self.address));
        }
        Ok(rows.into_iter().map(|(_, address)| address).collect())
    }

    async fn call(&self, at: usize, token: &Option<String>, path: &str, body: Value) -> Result<Value, String> {
        let question = http::Question {
            base: &self.settings.endpoints[at],
            ca_file: self.settings.ca_file.as_deref(),
            path,
            authorization: token.clone(),
            body: Some(body),
        };
        http::ask(question).await
    }

    /// A new one for each look: they expire, and a restart of etcd forgets them.
    async fn token(&self, at: usize) -> Result<Option<String>, String> {
        let Some((user, password_file)) = &self.settings.login else { return Ok(None) };
        let body = json!({ "name": user, "password": http::read(password_file).await? });
        let answer = self.call(at, &None, "/v3/auth/authenticate", body).await?;
        answer["token"].as_str().map(|token| Some(token.to_owned())).ok_or_else(|| "its answer has no token".to_owned())
    }

    async fn is_kept_alive(&mut self, at: usize, token: &Option<String>) -> Result<bool, String> {
        let Some(lease) = &self.lease else { return Ok(false) };
        let answer = self.call(at, token, "/v3/lease/keepalive", json!({ "ID": lease })).await?;
        // 0, or nothing at all, for one that has expired.
        let is_alive = answer["result"]["TTL"].as_str().is_some_and(|left| left != "0");
        if !is_alive {
            self.lease = None;
        }
        Ok(is_alive)
    }

    async fn register(&mut self, at: usize, token: &Option<String>) -> Result<(), String> {
        let lease = match &self.lease {
            Some(lease) => lease.clone(),
            None => {
                let seconds = self.settings.ttl.as_secs().to_string();
                let answer = self.call(at, token, "/v3/lease/grant", json!({ "TTL": seconds })).await?;
                let lease = answer["ID"].as_str().ok_or("its answer has no lease")?;
                self.lease.insert(lease.to_owned()).clone()
            }
        };
        let (key, value) = (BASE64.encode(self.folder.clone() + &self.node), BASE64.encode(self.address.to_string()));
        self.call(at, token, "/v3/kv/put", json!({ "key": key, "value": value, "lease": lease })).await?;
        Ok(())
    }

    /// Nodes and their addresses. What is no address is not ours, and left alone.
    async fn read(&self, at: usize, token: &Option<String>) -> Result<Vec<(String, SocketAddr)>, String> {
        let mut end = self.folder.clone().into_bytes();
        if let Some(last) = end.last_mut() {
            *last += 1; // `/`: the first key after all that begin with the folder
        }
        let (key, end) = (BASE64.encode(&self.folder), BASE64.encode(&end));
        let body = json!({ "key": key, "range_end": end, "limit": MOST.to_string() });
        let answer = self.call(at, token, "/v3/kv/range", body).await?;
        let rows = answer["kvs"].as_array().into_iter().flatten();
        Ok(rows.filter_map(|row| self.row(row)).collect())
    }

    fn row(&self, row: &Value) -> Option<(String, SocketAddr)> {
        let text = |field: &Value| String::from_utf8(BASE64.decode(field.as_str()?).ok()?).ok();
        let (key, value) = (text(&row["key"])?, text(&row["value"])?);
        let Ok(address) = value.parse() else {
            tracing::debug!(key = shown(&key), "a key in etcd holds no address");
            return None;
        };
        Some((key.strip_prefix(&self.folder)?.to_owned(), address))
    }

    async fn revoke(&mut self) -> Result<(), String> {
        let Some(lease) = self.lease.take() else { return Ok(()) };
        let mut last = Ok(());
        for at in 0..self.settings.endpoints.len() {
            let revoking = async {
                let token = self.token(at).await?;
                self.call(at, &token, "/v3/lease/revoke", json!({ "ID": lease })).await
            };
            last = in_time(ENDPOINT, revoking).await.map(drop);
            if last.is_ok() {
                break;
            }
        }
        last
    }
}

impl Discovery for Etcd {
    fn name(&self) -> &'static str {
        "etcd"
    }

    /// So that the lease outlives one look that fails.
    fn period(&self) -> Duration {
        self.settings.ttl / 3
    }

    fn look(&mut self) -> Boxed<'_, Found> {
        Box::pin(async { Found::from(self.ask().await) })
    }

    fn withdraw(&mut self) -> Boxed<'_, ()> {
        Box::pin(async {
            if let Err(why) = self.revoke().await {
                tracing::warn!(why, "this node leaves, and its key stays in etcd until its lease expires");
            }
        })
    }
}

//! What the server says of itself, as what it does not promise. Never changes its settings.

use super::Server;
use crate::error::StoreError;

/// The first with the flags of scripts.
const OLDEST: u64 = 7;

/// Asks the server, and says what it does not promise.
///
/// # Errors
/// Where it is of no use.
pub(super) async fn check(server: &Server) -> Result<(), StoreError> {
    let open = server.changes.first().await?;
    let info: String = server.changes.one(&open, redis::cmd("INFO")).await?;
    if let Some(why) = useless(&info) {
        return Err(StoreError::Open(server.address.clone(), why.into()));
    }
    let mut command = redis::cmd("CONFIG");
    command.arg("GET").arg("appendfsync");
    // Its users may be forbidden to ask.
    let fsync: Option<(String, String)> = server.changes.one(&open, command).await.ok();
    for lack in lacks(&info, fsync.as_ref().map(|(_, value)| value.as_str())) {
        tracing::warn!(server = server.address, "redis: {lack}");
    }
    Ok(())
}

/// A number that `INFO` gives.
pub(super) fn number(info: &str, name: &str) -> Option<u64> {
    text(info, name)?.parse().ok()
}

fn text<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn useless(info: &str) -> Option<&'static str> {
    let version = text(info, "redis_version").and_then(|version| version.split('.').next()?.parse::<u64>().ok());
    if version.is_some_and(|version| version < OLDEST) {
        return Some("the server is older than 7.0, which this needs");
    }
    if text(info, "role") == Some("slave") {
        return Some("the server is a replica, which takes no writes: name its primary");
    }
    if text(info, "cluster_enabled") == Some("1") {
        return Some("the server is one of a Redis Cluster, which this does not follow");
    }
    None
}

fn lacks(info: &str, fsync: Option<&str>) -> Vec<String> {
    let mut lacks = Vec::new();
    if number(info, "maxmemory").is_some_and(|most| most > 0)
        && let Some(policy) = text(info, "maxmemory_policy").filter(|policy| *policy != "noeviction")
    {
        lacks.push(format!(
            "maxmemory-policy is {policy}: once its memory is full the server deletes sessions and messages that were \
             acknowledged. Set it to noeviction"
        ));
    }
    if text(info, "aof_enabled") == Some("0") {
        lacks.push(
            "appendonly is no: when the server ends, what was acknowledged since its last snapshot is lost. Set it to \
             yes, and appendfsync to always"
                .into(),
        );
        return lacks;
    }
    match fsync {
        Some("always") => {}
        Some(other) => lacks.push(format!(
            "appendfsync is {other}: a power cut at the server loses what was acknowledged in about the last second. \
             Set it to always"
        )),
        None => {
            lacks.push("CONFIG GET appendfsync is refused: with other than always, a power cut loses messages".into())
        }
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "redis_version:7.0.15\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\n\
                        role:master\r\ncluster_enabled:0\r\n";

    #[test]
    fn a_server_that_keeps_what_it_acknowledges_is_not_complained_of() {
        assert_eq!((useless(GOOD), lacks(GOOD, Some("always"))), (None, Vec::new()));
    }

    #[test]
    fn what_a_server_does_not_promise_is_named_with_the_setting_that_would() {
        let evicts = GOOD.replace("maxmemory:0", "maxmemory:1000");
        assert!(lacks(&evicts, Some("always"))[0].contains("maxmemory-policy is allkeys-lru"));
        let forgets = GOOD.replace("aof_enabled:1", "aof_enabled:0");
        assert!(lacks(&forgets, Some("always"))[0].contains("appendonly is no"));
        assert!(lacks(GOOD, Some("everysec"))[0].contains("appendfsync is everysec"));
        assert!(lacks(GOOD, None)[0].contains("is refused"));
    }

    #[test]
    fn a_server_that_cannot_serve_is_refused_with_the_reason() {
        for (good, bad, why) in [
            ("7.0.15", "6.2.14", "older than 7.0"),
            ("role:master", "role:slave", "is a replica"),
            ("cluster_enabled:0", "cluster_enabled:1", "Redis Cluster"),
        ] {
            let told = useless(&GOOD.replace(good, bad));
            assert!(told.is_some_and(|told| told.contains(why)), "{bad}: {told:?}");
        }
    }
}

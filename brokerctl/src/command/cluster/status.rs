//! `brokerctl cluster status`: the members as one node sees them, and what each says of itself and of its links.

use std::collections::BTreeMap;
use std::io::Write;

use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{Member, Nothing, Sight};
use serde::Serialize;

use super::super::unexpected;
use crate::Session;
use crate::api::{Api, Scope};
use crate::args::Format;
use crate::failure::Failure;
use crate::moving;
use crate::output::json;
use crate::table;

/// Membership is the one node's answer; who does not say more of itself is listed with less.
pub(super) async fn status(session: &mut Session<'_>) -> Result<(), Failure> {
    let mut api = Api::connect(&session.global).await?;
    let mut gathered = api.ask_all(Scope::Here, Question::Members(Nothing {})).await?;
    let members = match gathered.answers.pop() {
        Some((_, Answer::Members(members))) => members.members,
        Some(_) => return Err(unexpected()),
        None => return Err(gathered.complete().err().unwrap_or_else(unexpected)),
    };
    let sights = api.gather_from_all(Question::Sight(Nothing {})).await.unwrap_or_default();
    let sight = |(name, answer)| match answer {
        Answer::Sight(sight) => Some((name, sight)),
        _ => None,
    };
    print(session, members, sights.into_iter().filter_map(sight).collect())
}

pub(super) fn print(
    session: &mut Session<'_>,
    members: Vec<Member>,
    sights: Vec<(String, Sight)>,
) -> Result<(), Failure> {
    let links = links(&sights);
    let said: BTreeMap<String, Sight> = sights.into_iter().collect();
    let mut nodes: Vec<MemberRow> =
        members.into_iter().map(|member| MemberRow::new(said.get(&member.name), member)).collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    render(Status { nodes, links }, session.global.output, !session.global.no_headers, session.out)
}

#[derive(Debug, Serialize)]
struct Status {
    nodes: Vec<MemberRow>,
    links: Vec<LinkRow>,
}

#[derive(Clone, Debug, Serialize)]
struct MemberRow {
    name: String,
    generation: u64,
    state: String,
    address: String,
    version: String,
    /// Ids of its secrets, the one in use first; empty where it does not say.
    secrets: String,
    #[serde(rename = "self")]
    is_self: bool,
    /// Seconds; none where it did not say.
    uptime: Option<u64>,
    clients: Option<u64>,
    /// `off`, or how far its drain is.
    drain: Option<String>,
    routes: u64,
    route_version: u64,
    route_version_known: u64,
    /// Changes of its routes that are known of and not applied here.
    route_lag: u64,
    /// Milliseconds since 1970.
    since: u64,
    reason: String,
}

impl MemberRow {
    fn new(sight: Option<&Sight>, member: Member) -> Self {
        let node = sight.and_then(|sight| sight.node.as_ref());
        Self {
            uptime: node.map(|node| node.now.saturating_sub(node.started_at) / 1000),
            clients: sight.map(moving::connected),
            drain: sight.and_then(|sight| sight.drain.as_ref()).map(|drain| drain.state.clone()),
            name: member.name,
            generation: member.generation,
            state: member.state,
            address: member.address,
            version: member.version,
            secrets: member.secrets,
            is_self: member.is_self,
            routes: member.routes,
            route_version: member.route_version,
            route_version_known: member.route_version_known,
            route_lag: member.route_version_known.saturating_sub(member.route_version),
            since: member.since,
            reason: member.reason,
        }
    }

    /// `up`, or `up, draining` where it is on its way out.
    fn shown_state(&self) -> String {
        match self.drain.as_deref() {
            None | Some("off") => self.state.clone(),
            Some(drain) => format!("{},{drain}", self.state),
        }
    }
}

/// The pair of links that one node keeps to another.
#[derive(Clone, Debug, Serialize)]
struct LinkRow {
    from: String,
    to: String,
    is_open: bool,
    /// Since the last frame came.
    silent_ms: Option<u64>,
    queued: u64,
    queued_bytes: u64,
    gossip: String,
    reason: String,
}

fn links(sights: &[(String, Sight)]) -> Vec<LinkRow> {
    let mut rows = Vec::new();
    for (from, sight) in sights {
        for member in &sight.members {
            let Some(link) = &member.link else { continue };
            rows.push(LinkRow {
                from: from.clone(),
                to: member.name.clone(),
                is_open: link.is_open,
                silent_ms: link.frame_age_ms,
                queued: link.queued,
                queued_bytes: link.queued_bytes,
                gossip: link.gossip.clone(),
                reason: member.reason.clone(),
            });
        }
    }
    rows.sort_by(|a, b| (&a.from, &a.to).cmp(&(&b.from, &b.to)));
    rows
}

/// The table lists links only where one is not open.
fn render(status: Status, format: Format, has_header: bool, out: &mut dyn Write) -> Result<(), Failure> {
    if format == Format::Json {
        return json(out, &status);
    }
    let columns = &[
        "NAME",
        "STATE",
        "ADDRESS",
        "VERSION",
        "GENERATION",
        "UPTIME",
        "CLIENTS",
        "ROUTES",
        "LAG",
        "SECRETS",
        "SELF",
        "REASON",
    ];
    let mut table = table::Writer::new(out, columns, has_header);
    let shown = |number: Option<u64>, unit: &str| number.map(|number| format!("{number}{unit}")).unwrap_or_default();
    for row in status.nodes {
        let is_self = if row.is_self { "*" } else { "" };
        table.push(vec![
            row.name.clone(),
            row.shown_state(),
            row.address,
            row.version,
            row.generation.to_string(),
            shown(row.uptime, "s"),
            shown(row.clients, ""),
            row.routes.to_string(),
            row.route_lag.to_string(),
            row.secrets,
            is_self.into(),
            row.reason,
        ])?;
    }
    table.flush()?;
    let closed: Vec<LinkRow> = status.links.into_iter().filter(|link| !link.is_open).collect();
    if closed.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let mut table = table::Writer::new(out, &["NO LINK FROM", "TO", "GOSSIP", "REASON"], has_header);
    for link in closed {
        table.push(vec![link.from, link.to, link.gossip, link.reason])?;
    }
    table.flush()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proto::admin::{Count, Drain, Link, NodeInfo};

    use super::*;

    fn member(name: &str, state: &str, is_self: bool) -> Member {
        Member {
            name: name.into(),
            generation: 1_700_000_000_000,
            state: state.into(),
            address: "127.0.0.1:7946".into(),
            version: "0.1.0".into(),
            secrets: "0badcafe,00c0ffee".into(),
            is_self,
            routes: 3,
            route_version: 9,
            route_version_known: 11,
            since: 1_684_736_435_155,
            reason: if state == "down" { "no frame for 5 s".into() } else { String::new() },
            link: (!is_self).then(|| Link { gossip: "dead".into(), ..Link::default() }),
        }
    }

    fn sights() -> Vec<(String, Sight)> {
        let sight = Sight {
            node: Some(NodeInfo { started_at: 1_000, now: 63_000, ..NodeInfo::default() }),
            count: Some(Count { total: 9, connected: 7 }),
            drain: Some(Drain { state: "moving".into(), ..Drain::default() }),
            members: vec![member("n1", "up", true), member("n2", "down", false)],
            ..Sight::default()
        };
        vec![("n1".into(), sight)]
    }

    fn rendered(format: Format) -> String {
        let (sights, mut out) = (sights(), Vec::new());
        let links = links(&sights);
        let said: BTreeMap<String, Sight> = sights.into_iter().collect();
        let nodes = [member("n1", "up", true), member("n2", "down", false)];
        let nodes = nodes.map(|member| MemberRow::new(said.get(&member.name), member)).into();
        render(Status { nodes, links }, format, true, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_table_lists_members_that_are_down_and_links_that_are_not_there() {
        let expected = "\
NAME  STATE      ADDRESS         VERSION  GENERATION     UPTIME  CLIENTS  ROUTES  LAG  SECRETS            SELF  REASON
n1    up,moving  127.0.0.1:7946  0.1.0    1700000000000  62s     7        3       2    0badcafe,00c0ffee  *
n2    down       127.0.0.1:7946  0.1.0    1700000000000                   3       2    0badcafe,00c0ffee        no frame for 5 s

NO LINK FROM  TO  GOSSIP  REASON
n1            n2  dead    no frame for 5 s
";
        assert_eq!(rendered(Format::Table), expected);
    }

    #[test]
    fn the_json_document_has_nodes_and_links() {
        let document: serde_json::Value = serde_json::from_str(&rendered(Format::Json)).unwrap();
        assert_eq!(document["nodes"][0]["clients"], 7);
        assert_eq!(document["nodes"][0]["self"], true);
        assert_eq!(document["nodes"][1]["clients"], serde_json::Value::Null);
        assert_eq!(document["nodes"][1]["route_lag"], 2);
        assert_eq!(document["links"][0]["to"], "n2");
        assert_eq!(document["links"][0]["is_open"], false);
    }
}

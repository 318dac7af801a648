//! Peers by a name of DNS: its A and AAAA records, or its SRV records. Asks DNS itself at every look, for the system's
//! resolver knows no SRV; caches nothing, and never reads `/etc/hosts`.

use std::net::SocketAddr;
use std::time::Duration;

use domain::base::iana::{Rcode, Rtype};
use domain::base::{Message, Name, RelativeName, ToName};
use domain::rdata::Srv;
use domain::resolv::StubResolver;
use domain::resolv::lookup::host::FoundHosts;
use domain::resolv::stub::Answer;
use domain::resolv::stub::conf::{ResolvConf, ServerConf, Transport};

use super::{DEADLINE, Discovery, Found, MOST, in_time, shown};
use crate::config::{self, DnsRecord};
use crate::registry::Boxed;

/// One try of one question; lost datagrams are asked for again within [`DEADLINE`].
const TRY: Duration = Duration::from_secs(2);

type Host = Name<Vec<u8>>;

pub(super) struct Dns(config::Dns);

impl Dns {
    pub(super) const fn new(settings: config::Dns) -> Self {
        Self(settings)
    }

    async fn ask(&self) -> Result<Vec<SocketAddr>, String> {
        // A new one for each look: `/etc/resolv.conf` may have changed, and its sockets go with it.
        let resolver = StubResolver::from_conf(self.servers());
        let mut last = Err("is no name".to_owned());
        for name in candidates(&self.0.name, &resolver) {
            last = match self.0.record {
                DnsRecord::A => addresses(&resolver, &name, self.0.port).await,
                DnsRecord::Srv => services(&resolver, &name).await,
            };
            if last.as_ref().is_ok_and(|found| !found.is_empty()) {
                return last;
            }
        }
        match last? {
            nothing if nothing.is_empty() => Err("it has no addresses".to_owned()),
            found => Ok(found),
        }
    }

    fn servers(&self) -> ResolvConf {
        let Some(server) = self.0.server else { return ResolvConf::default() };
        let mut conf = ResolvConf::new();
        conf.servers.push(ServerConf::new(server, Transport::UdpTcp));
        conf.options.timeout = TRY;
        conf.finalize();
        conf
    }
}

/// The name with each suffix of the search list, and as it is: that first where it has dots enough (`ndots`).
fn candidates(name: &str, resolver: &StubResolver) -> Vec<Host> {
    let options = resolver.options();
    let whole: Option<Host> = name.parse().ok();
    if name.ends_with('.') {
        return whole.into_iter().collect();
    }
    let Ok(relative) = RelativeName::<Vec<u8>>::vec_from_str(name) else { return Vec::new() };
    let suffixes = options.search.as_slice().iter().filter(|suffix| !suffix.is_root());
    let completed = suffixes.filter_map(|suffix| Some(relative.clone().chain(suffix).ok()?.to_name()));
    if name.matches('.').count() >= options.ndots {
        whole.into_iter().chain(completed).collect()
    } else {
        completed.chain(whole).collect()
    }
}

async fn addresses(resolver: &StubResolver, name: &Host, port: u16) -> Result<Vec<SocketAddr>, String> {
    // The answers are in UDP datagrams, or TCP where they do not fit: both bounded by the protocol at 64 KiB.
    let (a, aaaa) = tokio::join!(query(resolver, name, Rtype::A), query(resolver, name, Rtype::AAAA));
    let (a, aaaa) = match (a, aaaa) {
        (Err(why), Err(_)) => return Err(why),
        either => either,
    };
    let as_found = |answer: Result<Answer, String>| answer.map_err(std::io::Error::other);
    let hosts = FoundHosts::<StubResolver>::new(as_found(aaaa), as_found(a)).map_err(|error| error.to_string())?;
    Ok(hosts.port_iter(port).take(MOST).collect())
}

async fn services(resolver: &StubResolver, name: &Host) -> Result<Vec<SocketAddr>, String> {
    let answer = query(resolver, name, Rtype::SRV).await?;
    let mut found = Vec::new();
    let mut trouble = None;
    for (target, port) in targets(&answer)? {
        match addresses(resolver, &target, port).await {
            Ok(addresses) => found.extend(addresses),
            Err(why) => trouble = Some(format!("`{target}`: {why}")),
        }
        if found.len() >= MOST {
            break;
        }
    }
    match trouble {
        Some(why) if found.is_empty() => Err(why),
        _ => Ok(found), // a target that is gone, as of a node that stopped, is no trouble while there are others
    }
}

/// Priority and weight say nothing here: all nodes are asked.
fn targets(answer: &Message<bytes::Bytes>) -> Result<Vec<(Host, u16)>, String> {
    let records = answer.answer().map_err(|error| format!("its answer is malformed: {error}"))?;
    let targets = records.limit_to_in::<Srv<_>>().take(MOST).filter_map(|record| {
        let record = record.ok()?;
        let target: Host = record.data().target().to_name();
        // RFC 2782: a target of `.` says that there is no such service.
        (!target.is_root()).then(|| (target, record.data().port()))
    });
    Ok(targets.collect())
}

async fn query(resolver: &StubResolver, name: &Host, record: Rtype) -> Result<Answer, String> {
    let answer =
        resolver.query((name, record)).await.map_err(|error| format!("DNS says: {}", shown(&error.to_string())))?;
    match answer.header().rcode() {
        Rcode::NOERROR => Ok(answer),
        Rcode::NXDOMAIN => Err("there is no such name".to_owned()),
        refused => Err(format!("DNS says: {refused}")),
    }
}

impl Discovery for Dns {
    fn name(&self) -> &'static str {
        "dns"
    }

    fn period(&self) -> Duration {
        self.0.period
    }

    fn look(&mut self) -> Boxed<'_, Found> {
        Box::pin(async {
            let looked = in_time(DEADLINE, self.ask()).await;
            Found::from(looked.map_err(|why| format!("`{}` does not resolve: {why}", self.0.name)))
        })
    }
}

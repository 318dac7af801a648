//! `brokerctl cluster`: membership, and the secret that makes one.

mod status;

use clap::Subcommand;
use proto::admin::ForgetQuestion;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use ring::rand::{SecureRandom, SystemRandom};
use serde::Serialize;

use super::node::{self, DrainArgs};
use super::unexpected;
use crate::Session;
use crate::api::{Api, Scope};
use crate::args::Format;
use crate::failure::Failure;
use crate::moving::Sights;
use crate::output::{json, printable};

/// The cluster: status, join, leave, force-leave, keygen
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  brokerctl cluster status
  brokerctl cluster join 192.0.2.1:7946
  brokerctl cluster keygen > secret")]
pub(crate) enum Cluster {
    /// The members as the node sees them, those too that are down
    #[command(after_help = "Examples:
  brokerctl cluster status
  brokerctl -o json cluster status --node n2")]
    Status,
    /// Make the node join by the address of any member; done when its peers see it as up
    #[command(after_help = "Example:
  brokerctl --endpoint unix:/run/brokerd/admin.sock cluster join 192.0.2.1:7946")]
    Join {
        /// HOST:PORT of a member's `cluster.bind`
        seed: String,
    },
    /// Send the node's clients to the others, then make it leave, and forget its seeds
    ///
    /// It takes no clients afterwards: end it, or have it go on alone by `node undrain`. Where no other member takes
    /// clients it keeps those that it has. Interrupted before all are gone, it has not left: `node undrain` takes clients
    /// again.
    #[command(after_help = "Examples:
  brokerctl cluster leave
  brokerctl cluster leave --rate 100/s --to n2")]
    Leave(Leaving),
    /// Have all members forget one that is down and does not come back
    #[command(
        name = "force-leave",
        after_help = "Example:
  brokerctl cluster force-leave n3"
    )]
    ForceLeave {
        /// Its name
        member: String,
    },
    /// Print a new secret for `cluster.secret`; asks no broker
    #[command(after_help = "Example:
  (umask 077 && brokerctl cluster keygen > secret)")]
    Keygen,
}

impl Cluster {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        match self {
            Self::Status => status::status(session).await,
            Self::Join { seed } => join(session, seed).await,
            Self::Leave(leaving) => leave(session, leaving).await,
            Self::ForceLeave { member } => force_leave(session, member).await,
            Self::Keygen => keygen(session),
        }
    }
}

async fn join(session: &mut Session<'_>, seed: String) -> Result<(), Failure> {
    let mut api = own_node(session, "join").await?;
    let members = api.join(seed.clone()).await?;
    writeln!(session.err, "joined the cluster by `{}`", printable(&seed))?;
    status::print(session, members, Vec::new())
}

/// How to leave.
#[derive(Debug, clap::Args)]
pub(crate) struct Leaving {
    #[command(flatten)]
    drain: DrainArgs,
    /// Keep the clients, and go on alone with them
    #[arg(long)]
    keep_clients: bool,
}

async fn leave(session: &mut Session<'_>, leaving: Leaving) -> Result<(), Failure> {
    let mut api = own_node(session, "leave").await?;
    let sights = Sights::gather(&mut api).await?;
    let has_others = !sights.others(&sights.here, &leaving.drain.to)?.is_empty();
    if !leaving.keep_clients && has_others {
        let args = leaving.drain.and_wait();
        node::drain(session, &mut api, &sights, &args, true).await?;
    }
    api.leave().await?;
    match session.global.output {
        Format::Json => json(session.out, &Left { left: true }),
        Format::Table => Ok(writeln!(session.out, "left the cluster")?),
    }
}

/// Asks all first: one that sees the member alive knows better than one that does not.
async fn force_leave(session: &mut Session<'_>, node: String) -> Result<(), Failure> {
    let mut api = own_node(session, "force-leave").await?;
    let mut is_known = false;
    for is_trial in [true, false] {
        let question = Question::Forget(ForgetQuestion { node: node.clone(), is_trial });
        let mut gathered = api.ask_again(Scope::Cluster, question).await?;
        for (by, answer) in std::mem::take(&mut gathered.answers) {
            let Answer::Ordered(ordered) = answer else { return Err(unexpected()) };
            is_known |= ordered.is_found;
            if ordered.is_found && !ordered.why.is_empty() {
                let why = format!("Failed to remove the node from cluster: `{by}` says of `{node}`: {}", ordered.why);
                return Err(Failure::Failed(why));
            }
        }
        gathered.complete()?;
        if !is_known {
            return Err(Failure::NotFound(format!("no member is called `{node}`")));
        }
    }
    match session.global.output {
        Format::Json => json(session.out, &serde_json::json!({ "removed": node })),
        Format::Table => Ok(writeln!(session.out, "Remove the node from cluster successfully.")?),
    }
}

#[derive(Serialize)]
struct Left {
    left: bool,
}

/// Joining and leaving are said to the node itself: another one may not reach it, or soon will not.
async fn own_node(session: &Session<'_>, word: &str) -> Result<Api, Failure> {
    if session.global.node.is_some() {
        let why = format!("`cluster {word}` is for the node that is asked: use --endpoint instead of --node");
        return Err(Failure::Usage(why));
    }
    Api::connect(&session.global).await
}

#[derive(Serialize)]
struct Key {
    secret: String,
}

fn keygen(session: &mut Session<'_>) -> Result<(), Failure> {
    let mut bytes = [0; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Failure::Failed("the system gives no random bytes".into()))?;
    let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match session.global.output {
        Format::Json => json(session.out, &Key { secret }),
        Format::Table => Ok(writeln!(session.out, "{secret}")?),
    }
}

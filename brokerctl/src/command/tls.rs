//! `brokerctl tls`: the certificates of listeners. Never reads them itself: the broker's files are the broker's.

use clap::Subcommand;
use proto::admin::node_answer::Answer;
use proto::admin::node_question::Question;
use proto::admin::{Certificate, NodeAnswer, Nothing};
use serde::Serialize;

use crate::Session;
use crate::api::{Api, Scope};
use crate::failure::Failure;
use crate::list::{self, Row};
use crate::time;

/// Certificates of listeners: list, reload
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  brokerctl tls list
  brokerctl tls reload --node n1")]
pub(crate) enum Tls {
    /// The certificates in use, and when they end
    #[command(after_help = "Example:
  brokerctl -o json tls list")]
    List,
    /// Read certificates, keys and authorities from their files again; nobody is disconnected
    ///
    /// On each node all or nothing: where a file is wrong, every listener of that node keeps what it has.
    #[command(after_help = "Examples:
  brokerctl tls reload
  brokerctl tls reload --node n1")]
    Reload,
}

impl Tls {
    pub(crate) async fn run(self, session: &mut Session<'_>) -> Result<(), Failure> {
        if matches!(self, Self::Reload) {
            reload(session).await?;
        }
        list::list::<CertificateRow>(session, Question::Certificates(Nothing {})).await
    }
}

async fn reload(session: &Session<'_>) -> Result<(), Failure> {
    let mut api = Api::connect(&session.global).await?;
    let gathered = api.ask_all(Scope::Cluster, Question::ReloadTls(Nothing {})).await?;
    let failed = gathered.answers.iter().filter_map(|(node, answer)| match answer {
        Answer::Certificates(certificates) if certificates.why.is_empty() => None,
        Answer::Certificates(certificates) => Some(format!("{node} keeps its certificates: {}", certificates.why)),
        _ => Some(format!("{node} gave an answer to another question")),
    });
    let failed: Vec<_> = failed.collect();
    if failed.is_empty() { gathered.complete() } else { Err(Failure::Failed(failed.join("; "))) }
}

#[derive(Debug, Serialize)]
struct CertificateRow {
    listener: String,
    node: String,
    /// RFC 3339; `None` if it cannot be read.
    expires: Option<String>,
    file: String,
}

impl CertificateRow {
    fn new(node: &str, certificate: Certificate) -> Self {
        let seconds = u64::try_from(certificate.expires).ok().filter(|seconds| *seconds > 0);
        Self {
            listener: certificate.listener,
            node: node.to_owned(),
            expires: seconds.map(|seconds| time::rfc3339(seconds * 1000)),
            file: certificate.file,
        }
    }
}

impl Row for CertificateRow {
    const NONE: &'static str = "No certificates.";
    const COLUMNS: &'static [&'static str] = &["LISTENER", "NODE", "EXPIRES", "FILE"];

    fn of(node: &str, answer: NodeAnswer) -> Vec<Self> {
        let Some(Answer::Certificates(certificates)) = answer.answer else {
            return Vec::new();
        };
        certificates.rows.into_iter().map(|certificate| Self::new(node, certificate)).collect()
    }

    fn cells(&self) -> Vec<String> {
        let expires = self.expires.clone().unwrap_or_else(|| "unknown".into());
        vec![self.listener.clone(), self.node.clone(), expires, self.file.clone()]
    }

    fn key(&self) -> [&str; 3] {
        [&self.node, &self.listener, ""]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Format;
    use crate::list::render;

    #[test]
    fn a_certificate_shows_its_end() {
        let certificate =
            Certificate { listener: "tls:default".into(), file: "/etc/s.pem".into(), expires: 951_868_800 };
        let rows = [
            CertificateRow::new("n1", certificate.clone()),
            CertificateRow::new("n1", Certificate { expires: 0, ..certificate }),
        ];
        let expected = "\
LISTENER     NODE  EXPIRES                   FILE
tls:default  n1    2000-03-01T00:00:00.000Z  /etc/s.pem
tls:default  n1    unknown                   /etc/s.pem
";
        assert_eq!(render(&rows, Format::Table), expected);
    }
}

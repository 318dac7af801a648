//! The flags that every command takes. Never touches the network.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use proto::endpoint::Endpoint;

use crate::command::Command;

/// Administers brokerd, a clustered MQTT broker.
///
/// Every answer is for the whole cluster unless --node narrows it. Exit codes: 0 ok, 1 failed, 2 usage, 3 a member that
/// is up did not answer, 4 not found, 5 unauthorised, 6 unreachable or too slow.
#[derive(Debug, Parser)]
#[command(
    name = "brokerctl",
    version,
    after_help = "Examples:
  brokerctl cluster status
  brokerctl clients list --limit 20
  brokerctl --endpoint 127.0.0.1:7000 -o json clients count"
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What holds for every command; accepted before and after it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Global {
    /// Where the broker is [default: the broker of this user on this machine]
    #[arg(long, global = true, env = "BROKERCTL_ENDPOINT", value_name = "unix:PATH|HOST:PORT")]
    pub(crate) endpoint: Option<Endpoint>,
    /// A table for people, or one JSON document
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub(crate) output: Format,
    /// Only this member of the cluster
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// How long to wait, as in 500ms, 5s or 1m
    #[arg(long, global = true, default_value = "5s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Rows of a list at most, 0 is all [default: 100 on a terminal, else 0]
    #[arg(long, global = true, value_name = "ROWS")]
    pub(crate) limit: Option<u64>,
    /// Tables without their first line
    #[arg(long, global = true)]
    pub(crate) no_headers: bool,
    /// The token for HOST:PORT [default: where a broker of this user puts it]
    #[arg(long, global = true, env = "BROKERCTL_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
}

/// A number and ms, s or m.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        _ => return Err("a duration is a number and ms, s or m".into()),
    };
    let number: u32 = number.parse().map_err(|_| "a duration is a number and ms, s or m")?;
    match Duration::from_millis(u64::from(number) * millis) {
        Duration::ZERO => Err("must not be 0".into()),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }

    #[test]
    fn global_flags_are_accepted_before_and_after_the_command() {
        for line in [
            "brokerctl -o json --limit 3 clients list",
            "brokerctl clients list --limit 3 -o json",
            "brokerctl clients --limit 3 list -o json",
        ] {
            let args = Args::try_parse_from(line.split(' ')).unwrap();
            assert_eq!((args.global.output, args.global.limit), (Format::Json, Some(3)), "{line}");
        }
    }

    #[test]
    fn every_help_ends_with_an_example() {
        fn check(command: &mut clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let help = command.render_long_help().to_string();
            assert!(help.contains("Example"), "{path} --help shows no example");
            command.get_subcommands_mut().filter(|sub| sub.get_name() != "help").for_each(|sub| check(sub, &path));
        }
        check(&mut Args::command(), "");
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "s", "5h", "-1s", "0s", "99999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong} was taken");
        }
    }
}

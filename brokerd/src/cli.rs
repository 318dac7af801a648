//! The command line of `brokerd`. Owns the flags, their help and the exit codes of a bad configuration; never a key.

use std::ffi::OsString;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::PathBuf;

use clap::{ArgAction, Parser};

use crate::access::Access;
use crate::config::{self, Config, FileText, Machine, Problem, Sources};

const EXAMPLES: &str = "\
Examples:
  brokerd
      MQTT on 127.0.0.1:1883, for this machine only
  brokerd --config /etc/brokerd.toml --check-config
      Say what is wrong with a configuration, and exit
  brokerd --node-name b2 --seed 10.0.0.1:7946 --set cluster.secret_file=/etc/brokerd/cluster.secret \\
          --set cluster.bind=10.0.0.2:7946
      Join the cluster of 10.0.0.1

Exit codes: 0 stopped as asked, 1 failed or bad configuration, 2 bad usage.";

/// A clustered MQTT broker.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "brokerd", version, about, after_help = EXAMPLES)]
pub struct Cli {
    /// Read the configuration from this file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of this node in the cluster [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// A node to join by; may be repeated
    #[arg(long = "seed", value_name = "HOST:PORT")]
    pub seeds: Vec<String>,
    /// Set a key of the configuration, over file and environment; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Check the configuration, print every problem, and exit
    #[arg(long)]
    pub check_config: bool,
    /// Log more: -v is debug, -vv is trace
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
}

impl Cli {
    /// The configuration that flags, environment and file make together.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(&self, environment: Vec<(OsString, OsString)>, machine: Machine) -> Result<Config, Vec<Problem>> {
        let file = self.config.as_deref().map(FileText::read).transpose().map_err(|problem| vec![problem])?;
        config::load(&Sources {
            file,
            environment,
            set: self.set.clone(),
            node_name: self.node_name.clone(),
            seeds: self.seeds.clone(),
            machine,
        })
    }

    /// The configuration to run with, or the exit code after everything was said: problems on `err`, and the answer of
    /// `--check-config` on `out`.
    pub fn configure(
        &self,
        environment: Vec<(OsString, OsString)>,
        machine: Machine,
        out: &mut impl Write,
        err: &mut impl Write,
    ) -> ControlFlow<u8, Config> {
        match self.load(environment, machine) {
            Ok(config) if self.check_config => {
                if let Err(error) = Access::load(&config.auth) {
                    let _ = writeln!(err, "brokerd: {error}");
                    return ControlFlow::Break(1);
                }
                // A reader that went away does not make the configuration wrong.
                let _ = writeln!(out, "configuration is valid");
                ControlFlow::Break(0)
            }
            Ok(config) => ControlFlow::Continue(config),
            Err(problems) => {
                for problem in problems {
                    let _ = writeln!(err, "brokerd: {problem}");
                }
                ControlFlow::Break(1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use clap::CommandFactory;

    use super::*;

    fn run(arguments: &[&str]) -> (ControlFlow<u8, Config>, String, String) {
        let cli = Cli::try_parse_from([&["brokerd"], arguments].concat()).expect("the flags parse");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let machine = Machine { host_name: "pump-7".into(), root: true };
        let flow = cli.configure(Vec::new(), machine, &mut out, &mut err);
        (flow, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
    }

    #[test]
    fn the_definition_is_sound_and_help_ends_with_examples() {
        Cli::command().debug_assert();
        let help = Cli::command().render_long_help().to_string();
        assert!(help.contains("--check-config") && help.contains("Join the cluster of 10.0.0.1"), "{help}");
    }

    #[test]
    fn flags_reach_the_configuration() {
        let (flow, out, err) = run(&["--node-name", "b2", "--set", "mqtt.max_inflight=7", "-vv"]);
        let ControlFlow::Continue(config) = flow else { panic!("{err}") };
        assert_eq!((config.node.name.as_str(), config.mqtt.max_inflight), ("b2", 7));
        assert_eq!(out, "", "a start says nothing here");
        assert_eq!(Cli::try_parse_from(["brokerd", "-vv"]).unwrap().verbose, 2);
    }

    #[test]
    fn check_config_says_valid_and_exits_with_0() {
        let (flow, out, err) = run(&["--check-config"]);
        assert_eq!((flow, out.as_str(), err.as_str()), (ControlFlow::Break(0), "configuration is valid\n", ""));
    }

    #[test]
    fn check_config_reads_the_files_of_users_and_rules_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("acl.conf");
        std::fs::write(&path, "allow all all #\nrubbish\n").unwrap();
        let (flow, out, err) = run(&["--check-config", "--set", &format!("auth.acl_file={}", path.display())]);
        assert!(matches!(flow, ControlFlow::Break(1)) && out.is_empty());
        assert!(err.contains("`auth.acl_file`") && err.contains("line 2: "), "{err}");
    }

    #[test]
    fn check_config_tells_every_problem_and_exits_with_1() {
        let (flow, out, err) =
            run(&["--check-config", "--seed", "a:1", "--set", "mqtt.max_inflight=0", "--set", "x=1"]);
        assert_eq!((flow, out.as_str()), (ControlFlow::Break(1), ""));
        assert_eq!(err.lines().count(), 3, "{err}");
        assert!(err.lines().all(|line| line.starts_with("brokerd: ")), "{err}");
    }

    #[test]
    fn a_missing_file_is_told_before_anything_else() {
        let (flow, _, err) = run(&["--config", "/nonexistent/b.toml"]);
        assert_eq!(flow, ControlFlow::Break(1));
        assert!(err.contains("/nonexistent/b.toml") && err.contains("No such file"), "{err}");
    }

    #[test]
    fn bad_usage_exits_with_2() {
        for arguments in [&["brokerd", "--nonsense"][..], &["brokerd", "extra"], &["brokerd", "--set"]] {
            assert_eq!(Cli::try_parse_from(arguments).unwrap_err().exit_code(), 2, "{arguments:?}");
        }
    }
}

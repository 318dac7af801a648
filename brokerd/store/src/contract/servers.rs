//! Real servers for tests, from Debian's packages: each in a directory of its own, reached by a Unix socket in it, gone
//! with whoever started it. Never touches a server that runs on the machine.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Runs the server, says its process id, and ends it when it is told to or when who started it is gone.
const KEEPER: &str = r#"dir="$1"; shift
"$@" >>"$dir/log" 2>&1 </dev/null &
pid=$!
echo "$pid"
read -r word || word=gone
kill -9 "$pid" 2>/dev/null
wait "$pid" 2>/dev/null
[ "$word" = stop ] || rm -rf "$dir""#;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MariaDB.
    Mariadb,
}

/// A server that runs. Dropping it kills it and removes its directory.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    dir: PathBuf,
    /// What it is told besides.
    arguments: Vec<String>,
    keeper: Mutex<Option<(Child, u32)>>,
    databases: AtomicU64,
    making: Mutex<()>,
}

impl Server {
    /// Makes the server's files and starts it.
    #[must_use]
    pub fn start(kind: Kind) -> Self {
        let server = Self::make(kind);
        server.go_on();
        server
    }

    /// One that is also reached by TLS, at the address that comes with it, under a certificate and its key (PEM).
    #[must_use]
    pub fn start_with_tls(kind: Kind, certificate: &str, key: &str) -> (Self, String) {
        let mut server = Self::make(kind);
        let path = |name: &str| server.dir.join(name).display().to_string();
        let (certificate_file, key_file) = (path("certificate.pem"), path("key.pem"));
        std::fs::write(&certificate_file, certificate).unwrap();
        std::fs::write(&key_file, key).unwrap();
        std::fs::set_permissions(&key_file, PermissionsExt::from_mode(0o600)).unwrap();
        if is_root() {
            run(Command::new("chown").args(["nobody:nogroup", &key_file]));
        }
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port = free.port();
        server.arguments = match kind {
            Kind::Postgres => ["listen_addresses=127.0.0.1".into(), "ssl=on".into(), format!("port={port}")]
                .into_iter()
                .chain([format!("ssl_cert_file={certificate_file}"), format!("ssl_key_file={key_file}")])
                .flat_map(|setting| ["-c".into(), setting])
                .collect(),
            Kind::Mariadb => vec![
                format!("--port={port}"),
                "--bind-address=127.0.0.1".into(),
                "--skip-networking=0".into(),
                format!("--ssl-cert={certificate_file}"),
                format!("--ssl-key={key_file}"),
            ],
        };
        server.go_on();
        (server, free.to_string())
    }

    fn make(kind: Kind) -> Self {
        let dir = tempfile::Builder::new().prefix("brokerd-sql-").tempdir().unwrap().keep();
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
        let (keeper, databases, making) = (Mutex::default(), AtomicU64::new(0), Mutex::default());
        let server = Self { kind, dir, arguments: Vec::new(), keeper, databases, making };
        if is_root() {
            run(Command::new("chown").arg("nobody:nogroup").arg(&server.dir));
        }
        let data = server.dir.join("data");
        match kind {
            Kind::Postgres => {
                let mut make = unprivileged(postgres_program("initdb"));
                run(make.args(["-A", "trust", "-U", "brokerd", "-E", "UTF8", "--no-sync", "-D"]).arg(data));
            }
            Kind::Mariadb => {
                let mut make = unprivileged(program("mariadb-install-db", "mariadb-server"));
                make.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
                make.arg(format!("--datadir={}", data.display()));
                // Each its own: a server that starts deletes all temporary tables that it finds there.
                run(make.arg(format!("--tmpdir={}", server.dir.display())));
            }
        }
        server
    }

    /// Starts it again on what it has, and waits until it answers.
    pub fn go_on(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut keeper = Command::new("sh");
            keeper.args(["-c", KEEPER, "keeper"]).arg(&self.dir);
            let server = self.command();
            keeper.arg(server.get_program()).args(server.get_args());
            let mut keeper = keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut line = String::new();
            BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
            let pid = line.trim().parse().unwrap();
            *self.keeper.lock().unwrap() = Some((keeper, pid));
            while is_alive(pid) {
                if self.ask("SELECT 1") {
                    return;
                }
                assert!(Instant::now() < deadline, "{:?} does not answer: {}", self.kind, self.log());
                pause();
            }
            assert!(Instant::now() < deadline, "{:?} does not start: {}", self.kind, self.log());
            self.kill(); // what was killed before may still be going
        }
    }

    fn command(&self) -> Command {
        let dir = self.dir.display();
        let mut server = match self.kind {
            Kind::Postgres => {
                let mut server = unprivileged(postgres_program("postgres"));
                server.args(["-D", &format!("{dir}/data"), "-c", "listen_addresses="]);
                server.args(["-c", &format!("unix_socket_directories={dir}")]);
                server
            }
            Kind::Mariadb => {
                let mut server = unprivileged(program("mariadbd", "mariadb-server"));
                server.arg("--no-defaults").arg("--skip-networking");
                server.args([format!("--datadir={dir}/data"), format!("--socket={dir}/socket")]);
                server.args([format!("--pid-file={dir}/pid"), format!("--tmpdir={dir}")]);
                server
            }
        };
        server.args(&self.arguments);
        server
    }

    /// kill -9.
    pub fn kill(&self) {
        if let Some((mut keeper, _)) = self.keeper.lock().unwrap().take() {
            let _ = keeper.stdin.take().unwrap().write_all(b"stop\n");
            let _ = keeper.wait();
        }
    }

    /// SIGSTOP, or SIGCONT, for the process that takes connections.
    pub fn signal(&self, name: &str) {
        if let Some((_, pid)) = &*self.keeper.lock().unwrap() {
            run(Command::new("kill").args([&format!("-{name}"), &pid.to_string()]));
        }
    }

    /// The same for the processes that it has started too: PostgreSQL has one a connection.
    pub fn signal_all(&self, name: &str) {
        let Some(pid) = self.keeper.lock().unwrap().as_ref().map(|(_, pid)| *pid) else { return };
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        for process in [pid.to_string()].iter().map(String::as_str).chain(children.split_whitespace()) {
            // One that ended meanwhile needs no signal.
            let _ = Command::new("kill").args([&format!("-{name}"), process]).stderr(Stdio::null()).status();
        }
    }

    /// What a store gives as address.
    #[must_use]
    pub fn address(&self) -> String {
        match self.kind {
            Kind::Postgres => self.dir.display().to_string(),
            Kind::Mariadb => self.dir.join("socket").display().to_string(),
        }
    }

    /// Who may do everything, without a password.
    #[must_use]
    pub const fn user(&self) -> &'static str {
        match self.kind {
            Kind::Postgres => "brokerd",
            Kind::Mariadb => "root",
        }
    }

    /// A new, empty database.
    #[must_use]
    pub fn database(&self) -> String {
        let _one_by_one = self.making.lock().unwrap(); // a template cannot be copied twice at a time
        let name = format!("database_{}", self.databases.fetch_add(1, Relaxed));
        assert!(self.ask(&format!("CREATE DATABASE {name}")), "no database could be made: {}", self.log());
        name
    }

    /// Whether a statement was carried out.
    pub fn ask(&self, text: &str) -> bool {
        let mut client = match self.kind {
            Kind::Postgres => postgres_program("psql"),
            Kind::Mariadb => program("mariadb", "mariadb-server"),
        };
        match self.kind {
            Kind::Postgres => client.args([
                "-X",
                "-q",
                "-p",
                &self.port(),
                "-h",
                &self.address(),
                "-U",
                "brokerd",
                "postgres",
                "-c",
                text,
            ]),
            Kind::Mariadb => client.args(["--no-defaults", "-S", &self.address(), "-u", "root", "-e", text]),
        };
        client.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    /// What the name of PostgreSQL's Unix socket ends with.
    fn port(&self) -> String {
        let given = self.arguments.iter().find_map(|one| one.strip_prefix("port="));
        given.unwrap_or("5432").to_owned()
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal_all("CONT"); // one that is stopped would not see that its parent ends
        self.kill();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

#[expect(clippy::disallowed_methods, reason = "a server of another process says nothing when it is ready")]
fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

/// Both servers refuse to run as root.
fn unprivileged(program: Command) -> Command {
    if !is_root() {
        return program;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(program.get_program());
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn is_alive(pid: u32) -> bool {
    // A process that has ended and was not waited for has no command line.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

/// The newest that is installed; Debian keeps it where no PATH looks.
fn postgres_program(name: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").map(Iterator::flatten).into_iter().flatten();
    let number = |path: &Path| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
    let mut found: Vec<PathBuf> = versions.map(|entry| entry.path()).collect();
    found.sort_by_key(|path| number(path));
    let found = found.into_iter().map(|path| path.join("bin").join(name)).rfind(|path| path.exists());
    found.map_or_else(|| program(name, "postgresql"), Command::new)
}

fn program(name: &str, package: &str) -> Command {
    let path = std::env::var("PATH").unwrap_or_default();
    let dirs = path.split(':').chain(["/usr/sbin", "/usr/local/sbin"]);
    let found = dirs.map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    let found = found.unwrap_or_else(|| panic!("there is no `{name}`: install Debian's package {package}"));
    Command::new(found)
}

fn run(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = || format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}", said());
}

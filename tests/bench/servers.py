"""Redis, PostgreSQL and MariaDB of Debian's packages, each on a directory of its own, reached by a Unix socket in it.

Never touches a server that runs on the machine. Both SQL servers refuse to run as root: as root they run as `nobody`.
"""

import glob
import os
import shutil
import subprocess
import tempfile
import time

PATIENCE = 60


def find(name, *places):
    """The newest program of that name; Debian keeps some where no PATH looks."""
    found = [path for place in places for path in sorted(glob.glob(f"{place}/{name}"))]
    path = found[-1] if found else shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/sbin")
    if path is None:
        raise SystemExit(f"missing: {name}")
    return path


def unprivileged(command):
    if os.geteuid() != 0:
        return command
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]


class Server:
    """A server that runs until it is stopped; its files go with it."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="brokerd-bench-")
        os.chmod(self.directory, 0o755)
        if os.geteuid() == 0:
            shutil.chown(self.directory, "nobody", "nogroup")
        self.databases = 0
        self.process = None

    def start(self, command):
        with open(f"{self.directory}/log", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                with open(f"{self.directory}/log", encoding="utf-8") as log:
                    raise SystemExit(f"{command[-1]} does not start: {log.read()[-2000:]}")
            time.sleep(0.05)

    def run(self, command):
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise SystemExit(f"{command}: {done.stdout}{done.stderr}")

    def pids(self):
        """The server's processes: PostgreSQL has one for each connection."""
        parents = {}
        for place in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(place, encoding="utf-8", errors="replace") as stat:
                    pid, rest = stat.read().split(" ", 1)
                parents[int(pid)] = int(rest.rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                pass  # it went while we looked
        return [self.process.pid, *(pid for pid, parent in parents.items() if parent == self.process.pid)]

    def disk(self):
        return used(f"{self.directory}/data")

    def stop(self):
        if self.process:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


class Redis(Server):
    """Syncs before it answers, so that it keeps what it acknowledges."""

    def __init__(self):
        super().__init__()
        self.program, self.client = find("redis-server"), find("redis-cli")
        os.mkdir(f"{self.directory}/data")
        self.socket = f"{self.directory}/socket"
        options = ["--port", "0", "--unixsocket", self.socket, "--dir", f"{self.directory}/data", "--save", ""]
        options += ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
        self.start([self.program, *options])

    def answers(self):
        done = subprocess.run([self.client, "-s", self.socket, "ping"], capture_output=True)
        return done.stdout.strip() == b"PONG"

    def settings(self):
        """An empty database."""
        self.run([self.client, "-s", self.socket, "flushall"])
        return {"persistence.redis.address": f"unix://{self.socket}"}


class Postgres(Server):
    def __init__(self):
        super().__init__()
        programs = "/usr/lib/postgresql/*/bin"
        self.client, data = find("psql", programs), f"{self.directory}/data"
        make = ["-A", "trust", "-U", "brokerd", "-E", "UTF8", "--no-sync", "-D", data]
        self.run(unprivileged([find("initdb", programs), *make]))
        options = ["-D", data, "-c", "listen_addresses=", "-c", f"unix_socket_directories={self.directory}"]
        self.start(unprivileged([find("postgres", programs), *options]))

    def ask(self, text):
        return [self.client, "-X", "-q", "-h", self.directory, "-U", "brokerd", "postgres", "-c", text]

    def answers(self):
        return subprocess.run(self.ask("SELECT 1"), capture_output=True).returncode == 0

    def settings(self):
        """A new database."""
        self.databases += 1
        self.run(self.ask(f"CREATE DATABASE bench_{self.databases}"))
        key = "persistence.postgres"
        return {f"{key}.address": self.directory, f"{key}.database": f"bench_{self.databases}", f"{key}.user": "brokerd"}


class Mariadb(Server):
    def __init__(self):
        super().__init__()
        self.client, data = find("mariadb"), f"{self.directory}/data"
        make = ["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db", f"--datadir={data}"]
        make += [f"--tmpdir={self.directory}"]
        self.run(unprivileged([find("mariadb-install-db"), *make]))
        self.socket = f"{self.directory}/socket"
        options = ["--no-defaults", "--skip-networking", f"--datadir={data}", f"--socket={self.socket}"]
        options += [f"--pid-file={self.directory}/pid", f"--tmpdir={self.directory}", "--max-allowed-packet=64M"]
        self.start(unprivileged([find("mariadbd"), *options]))

    def ask(self, text):
        return [self.client, "--no-defaults", "-S", self.socket, "-u", "root", "-e", text]

    def answers(self):
        return subprocess.run(self.ask("SELECT 1"), capture_output=True).returncode == 0

    def settings(self):
        """A new database."""
        self.databases += 1
        self.run(self.ask(f"CREATE DATABASE bench_{self.databases}"))
        key = "persistence.mysql"
        return {f"{key}.address": self.socket, f"{key}.database": f"bench_{self.databases}", f"{key}.user": "root"}


class Nothing:
    """The backends that need no server."""

    def settings(self):
        return {}

    def pids(self):
        return []

    def disk(self):
        return 0

    def stop(self):
        pass


def used(directory):
    """Bytes on disk."""
    total = 0
    for place, _, files in os.walk(directory):
        for name in files:
            try:
                total += os.lstat(f"{place}/{name}").st_blocks * 512
            except FileNotFoundError:
                pass  # it went while we looked
    return total


SERVERS = {"memory": Nothing, "disk": Nothing, "redis": Redis, "postgres": Postgres, "mysql": Mariadb}

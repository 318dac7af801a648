"""Release brokerds on directories of their own, alone or in a cluster, and `brokerctl bench` against them."""

import glob
import json
import os
import shutil
import subprocess
import tempfile
import time

TARGET = os.environ.get("CARGO_TARGET_DIR", "target")
PATIENCE = 300


def bench(*arguments, pids, **targets):
    """What `brokerctl bench` measures. What it says is broken is passed on, and measured all the same."""
    command = bench_command(*arguments, pids=pids, **targets)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
    if not done.stdout:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}")
    return json.loads(done.stdout)


def bench_command(*arguments, pids, **targets):
    """`target`, `pub_target` and `sub_target` are lists of addresses."""
    command = [f"{TARGET}/release/brokerctl", "-o", "json", "--timeout", "2m", "bench", *map(str, arguments)]
    for name, addresses in targets.items():
        command += [f"--{name.replace('_', '-')}", ",".join(addresses)]
    return command + ["--pid", ",".join(map(str, pids))]


class Brokerd:
    """A node that runs; `kill` and `start` as often as one likes, on the same directory."""

    def __init__(self, settings):
        self.prepare(settings)
        self.start()

    def prepare(self, settings):
        self.directory = tempfile.mkdtemp(prefix="brokerd-bench-")
        own = {
            "listeners.tcp.default.bind": "127.0.0.1:0",
            "node.data_dir": f"{self.directory}/data",
            "admin.listen": f"unix:{self.directory}/admin.sock",
        }
        pairs = {**own, **settings}.items()
        self.command = [f"{TARGET}/release/brokerd", *(word for key, value in pairs for word in ("--set", f"{key}={value}"))]
        self.process = None

    def start(self):
        """Starts it; seconds until it says that it is ready."""
        self.launch()
        return self.wait_until_ready()

    def launch(self):
        self.begun = time.monotonic()
        with open(f"{self.directory}/log", "w", encoding="utf-8") as out, \
                open(f"{self.directory}/err", "a", encoding="utf-8") as err:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def wait_until_ready(self):
        while True:
            with open(f"{self.directory}/log", encoding="utf-8") as lines:
                said = lines.read()
            if "\nready\n" in said:
                break
            if self.process.poll() is not None or time.monotonic() > self.begun + PATIENCE:
                with open(f"{self.directory}/err", encoding="utf-8") as err:
                    raise SystemExit(f"brokerd does not start: {err.read()[-2000:]}")
            time.sleep(0.002)
        taken = time.monotonic() - self.begun
        words = [line.split(" listening on ") for line in said.splitlines() if " listening on " in line]
        heard = {who: where.split()[0] for who, where in words}
        self.address = heard["mqtt tcp:default"]
        self.secure_address = heard.get("mqtt tls:default")
        self.peers = next((where for who, where in heard.items() if who.startswith("cluster ")), None)
        return taken

    def bench(self, *arguments, pids=()):
        return bench(*arguments, pids=[self.process.pid, *pids], target=[self.address])

    def ctl(self, *words):
        """The answer of brokerctl, or None."""
        command = [f"{TARGET}/release/brokerctl", "--endpoint", f"unix:{self.directory}/admin.sock", "-o", "json", *words]
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return json.loads(done.stdout) if done.returncode == 0 and done.stdout else None

    def resident(self):
        with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="utf-8") as rollup:
            return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Rss:"))

    def cpu(self):
        """Seconds of CPU that it has used."""
        used = 0
        for path in glob.glob(f"/proc/{self.process.pid}/task/*/schedstat"):
            with open(path, encoding="utf-8") as line:
                used += int(line.read().split()[0])
        return used / 1e9

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Node(Brokerd):
    """A member of a cluster. It is not started."""

    def __init__(self, name, seeds, settings):
        of_cluster = {"cluster.bind": "127.0.0.1:0", "cluster.secret": "a secret for a measurement"}
        self.prepare({**of_cluster, **settings})
        self.name = name
        self.command += ["--node-name", name]
        for seed in seeds:
            self.command += ["--seed", seed]

    def sees(self):
        """Name and state of each member, as it sees them."""
        status = self.ctl("cluster", "status")
        return {member["name"]: member["state"] for member in status["nodes"]} if status else {}

    def metric(self, name):
        return self.ctl("broker", "metrics", "--node", self.name)[name]


class Cluster:
    """So many nodes that see each other up; the first is everybody's seed."""

    def __init__(self, size, settings=None):
        self.nodes = []
        try:
            for number in range(size):
                self.add(settings)
            self.wait_until_all_up()
        except BaseException:
            self.stop()
            raise

    def add(self, settings=None):
        """One more; seconds until it is ready."""
        seeds = [self.nodes[0].peers] if self.nodes else []
        node = Node(f"n{len(self.nodes) + 1}", seeds, settings or {})
        self.nodes.append(node)
        return node.start()

    def wait_until_all_up(self):
        all_up = {node.name: "up" for node in self.nodes}
        for node in self.nodes:
            until(lambda node=node: node.sees() == all_up, f"{node.name} sees all up")

    def addresses(self):
        return [node.address for node in self.nodes]

    def pids(self):
        return [node.process.pid for node in self.nodes]

    def stop(self):
        for node in self.nodes:
            node.stop()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def until(is_so, what, patience=PATIENCE, pause=0.0):
    """Waits, and answers when it was."""
    deadline = time.monotonic() + patience
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"not in {patience} s: {what}")
        time.sleep(pause)
    return time.monotonic()

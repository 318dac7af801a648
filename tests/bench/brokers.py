"""One release brokerd on a directory of its own, and `brokerctl bench` against it."""

import json
import os
import shutil
import subprocess
import tempfile
import time

TARGET = os.environ.get("CARGO_TARGET_DIR", "target")
PATIENCE = 300


class Brokerd:
    """A node that runs; `kill` and `start` as often as one likes, on the same directory."""

    def __init__(self, settings):
        self.directory = tempfile.mkdtemp(prefix="brokerd-bench-")
        own = {
            "listeners.tcp.default.bind": "127.0.0.1:0",
            "node.data_dir": f"{self.directory}/data",
            "admin.listen": f"unix:{self.directory}/admin.sock",
        }
        pairs = {**own, **settings}.items()
        self.command = [f"{TARGET}/release/brokerd", *(word for key, value in pairs for word in ("--set", f"{key}={value}"))]
        self.start()

    def start(self):
        """Starts it; seconds until it says that it is ready."""
        log, begun = f"{self.directory}/log", time.monotonic()
        with open(log, "w", encoding="utf-8") as out, open(f"{self.directory}/err", "a", encoding="utf-8") as err:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        while True:
            with open(log, encoding="utf-8") as lines:
                said = lines.read()
            if "\nready\n" in said:
                break
            if self.process.poll() is not None or time.monotonic() > begun + PATIENCE:
                with open(f"{self.directory}/err", encoding="utf-8") as err:
                    raise SystemExit(f"brokerd does not start: {err.read()[-2000:]}")
            time.sleep(0.002)
        taken = time.monotonic() - begun
        words = [line.split() for line in said.splitlines() if line.startswith("mqtt tcp:default listening on ")]
        self.address = words[0][4]
        return taken

    def bench(self, *arguments, pids=()):
        """What `brokerctl bench` measures. What it says is broken is passed on, and measured all the same."""
        command = [f"{TARGET}/release/brokerctl", "-o", "json", "--timeout", "2m", "bench", *map(str, arguments)]
        command += ["--target", self.address, "--pid", ",".join(map(str, [self.process.pid, *pids]))]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL)
        if not done.stdout:
            raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}")
        return json.loads(done.stdout)

    def resident(self):
        with open(f"/proc/{self.process.pid}/smaps_rollup", encoding="utf-8") as rollup:
            return next(int(line.split()[1]) * 1024 for line in rollup if line.startswith("Rss:"))

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

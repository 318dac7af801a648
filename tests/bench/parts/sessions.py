"""Sessions: one that follows its client from node to node, and those of a node that is killed."""

import shutil
import time

from brokers import Cluster, bench
from client import Client
from parts import at_least, percentiles
from servers import Redis


def takeover(scale):
    """CONNECT to CONNACK of a client whose session has a connection on another node."""
    count, clients = at_least(1000, scale, 12), 20
    for backend in ("memory", "disk"):
        with Cluster(3, {"persistence.backend": backend}) as cluster:
            times, absent, last = [], 0, {}
            for number in range(count + clients):
                name, node = f"mover{number % clients}", cluster.nodes[(number // clients + number % clients) % 3]
                client = Client(node.address, name, True)
                begun = time.perf_counter()
                was_there = client.connect()
                if number < clients:
                    client.subscribe(f"to/{name}", 1)
                else:
                    times.append(time.perf_counter() - begun)
                    absent += not was_there
                    last[name].close()
                last[name] = client
        yield f"takeover of a live session between nodes, {backend}, {count:,} times: p50 / p99 / max", \
            percentiles(times), "p99 50 ms"
        yield f"of these, without their session: {backend}", f"{absent:,}", "0"


def reconnect(scale):
    """Sessions of a node that is killed, elsewhere at once: in memory they begin anew, in a shared store they are there."""
    count = at_least(10_000, scale, 100)
    words = ["--sessions", count, "--connections", min(count, 500)]
    with Cluster(3) as cluster:
        begun, back = after_a_kill(cluster, words, lambda others: ["offline", "prepare", *words])
    yield f"{count:,} sessions of a killed node, in memory: all connected and subscribed elsewhere", f"{back:.2f} s", ""
    yield "their CONNECT: p50 / p99 / max", connects(begun), ""
    if shutil.which("redis-server") is None:
        yield "the same with Redis", "no redis-server here", ""
        return
    server = Redis()
    try:
        settings = {"persistence.backend": "redis", **server.settings()}
        with Cluster(3, settings) as cluster:
            drain = lambda others: ["offline", "drain", *words, "--messages", count]  # noqa: E731
            begun, back = after_a_kill(cluster, words, drain, fill=count)
    finally:
        server.stop()
    yield f"the same with Redis (appendfsync always), each with a message that waits: connected, and has it", f"{back:.2f} s", ""
    yield "their CONNECT: p50 / p99 / max; messages lost; sessions not there", \
        f"{connects(begun)}; {begun['lost']:,}; {begun['sessions_not_there']:,}", "0; 0"


def after_a_kill(cluster, words, then, fill=0):
    """What that measures at the others, and the seconds from the kill to its end."""
    first, others = cluster.nodes[0], cluster.nodes[1:]
    bench("offline", "prepare", *words, pids=[first.process.pid], target=[first.address])
    addresses, pids = [node.address for node in others], [node.process.pid for node in others]
    if fill:
        bench("offline", "fill", *words, "--messages", fill, pids=pids, target=addresses)
    begun = time.monotonic()
    first.kill()
    measured = bench(*then(others), pids=pids, target=addresses)
    return measured, time.monotonic() - begun


def connects(measured):
    return " / ".join(f"{measured[f'connect_{name}_us'] / 1000:.1f}" for name in ("p50", "p99", "max")) + " ms"

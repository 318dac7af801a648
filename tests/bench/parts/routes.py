"""Subscriptions: how fast a SUBACK comes and a route is known, what is lost after it, and what a million of them cost."""

import multiprocessing
import struct
import subprocess
import time

from brokers import Cluster, bench, bench_command, until
from client import connected
from parts import at_least, percentiles

#: Between two messages of a prober: what it finds is that exact.
PROBE = 0.0001


def suback(scale):
    """SUBSCRIBE to SUBACK over the three nodes in turn."""
    filters = at_least(10_000, scale, 10)
    with Cluster(3) as cluster:
        words = ["sub", "--connections", 3, "--filters", filters // 3 + 1, "--window", 1, "--batch", 1]
        took = bench(*words, pids=cluster.pids(), target=cluster.addresses())
    figures = [f"{took[f'suback_{name}_us'] / 1000:.2f}" for name in ("p50", "p99", "p99.9", "max")]
    yield f"SUBSCRIBE to SUBACK, {filters:,} fresh filters: p50 / p99 / p99.9 / max", " / ".join(figures) + " ms", "1 / 10 ms"


def lost(scale):
    """A subscription at one node, and at once a message for it at another."""
    count = at_least(10_000, scale, 30)
    with Cluster(3) as cluster:
        here = [connected(node.address, f"here{node.name}") for node in cluster.nodes]
        there = [connected(node.address, f"there{node.name}") for node in cluster.nodes]
        for number in range(count):
            here[number % 3].subscribe(f"lost/{number}")
            there[(number + 1) % 3].publish(f"lost/{number}", b"x")
        deadline = time.monotonic() + 10
        while sum(len(client.messages) for client in here) < count and time.monotonic() < deadline:
            for client in here:
                client.poll(0.01)
        missing = count - sum(len({topic for topic, _ in client.messages}) for client in here)
    yield f"SUBACK at one node, then PUBLISH (QoS 0) at another, {count:,} times: lost", f"{missing:,}", "0"


def propagation(scale):
    """From SUBSCRIBE at one node until what is published at another comes."""
    count = at_least(1000, scale, 10)
    with Cluster(3) as cluster:
        times = [took for took in probe(cluster.addresses(), count)]
    yield f"a route at a peer after SUBSCRIBE, {count:,} times: p50 / p99 / max", percentiles(times), "p99 50 ms"


def probe(addresses, count, pause=0.0):
    here = connected(addresses[0], "probe-here")
    there = connected(addresses[1], "probe-there")
    for number in range(count):
        topic, came = f"probe/{number}", None
        begun = time.perf_counter()
        here.ask_subscribe(topic)
        while came is None:
            there.publish(topic, struct.pack(">d", time.perf_counter()))
            until_next = time.perf_counter() + PROBE
            while came is None and time.perf_counter() < until_next:
                here.poll()
                came = next((payload for of, payload in here.messages if of == topic), None)
            if time.perf_counter() > begun + 30:
                raise SystemExit(f"{topic} never came")
        yield struct.unpack(">d", came)[0] - begun
        here.unsubscribe(topic)
        here.messages.clear()
        time.sleep(pause)


def filters(scale):
    """Many filters on one node: what they cost a peer, and how fast a joiner has them."""
    count = at_least(1_000_000, scale, 100) // 100 * 100
    with Cluster(2) as cluster:
        owner, peer = cluster.nodes
        before = peer.resident()
        words = ["sub", "--connections", 100, "--filters", count // 100, "--batch", 100, "--wildcard", "+"]
        command = bench_command(*words, "--listen", "60m", pids=[owner.process.pid], target=[owner.address])
        begun = time.monotonic()
        holder = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            done = until(lambda: routes_of(owner, peer) >= count, "the peer has all routes")
            time.sleep(2)
            each = (peer.resident() - before) / count
            ready = cluster.add()
            has_all = until(lambda: routes_of(owner, cluster.nodes[2]) >= count, "the joiner has all routes")
            in_sync = has_all - cluster.nodes[2].begun
        finally:
            holder.kill()
            holder.wait()
    yield f"{count:,} filters subscribed at one node: known to a peer after", f"{done - begun:.1f} s", ""
    yield "resident memory of a peer for each route of another node", f"{each:.0f} bytes", ""
    yield "joiner: from its start to `ready`, and to all routes", f"{ready:.2f} s, {in_sync:.2f} s", "5 s"


def routes_of(owner, at):
    status = at.ctl("cluster", "status") or {"nodes": []}
    return next((member["routes"] or 0 for member in status["nodes"] if member["name"] == owner.name), 0)


def changes(scale):
    """Subscriptions that come and go at a rate, and how soon a peer knows of one more meanwhile."""
    rate, seconds = 5000, max(60 * scale, 2)
    with Cluster(3) as cluster:
        counted_rx, counted_tx = multiprocessing.Pipe(False)
        arguments = (cluster.nodes[0].address, rate, seconds, counted_tx)
        load = multiprocessing.get_context("fork").Process(target=change, args=arguments)
        before, begun = [node.cpu() for node in cluster.nodes], time.monotonic()
        load.start()
        times = []
        for took in probe(cluster.addresses(), 1_000_000, 0.02):
            times.append(took)
            if time.monotonic() > begun + seconds:
                break
        elapsed = time.monotonic() - begun
        cores = [(node.cpu() - was) / elapsed for node, was in zip(cluster.nodes, before)]
        done = counted_rx.recv()
        load.join()
    yield f"{done / seconds:,.0f} subscription changes a second at one node for {seconds:.0f} s: a route at a peer, p50 / p99 / max", \
        percentiles(times), ""
    yield "CPU of the nodes meanwhile, the first is the one they are at (cores; the prober's messages are in it)", \
        " / ".join(f"{each:.2f}" for each in cores), ""


def change(address, rate, seconds, counted_tx):
    """SUBSCRIBE, and 1,000 changes later UNSUBSCRIBE, over ten connections."""
    from client import packet, text

    clients = [connected(address, f"changer{number}") for number in range(10)]
    begun, sent, held = time.monotonic(), 0, []
    while (now := time.monotonic()) < begun + seconds:
        due = int((now - begun) * rate)
        lots = {}
        while sent < due:
            client = sent % len(clients)
            is_new = sent // len(clients) % 2 == 0 or len(held) < 1000
            topic = f"change/{sent}" if is_new else held.pop(0)
            client, topic = (client, topic) if is_new else topic
            body = clients[client].next_id() + text(topic.encode())
            lots.setdefault(client, []).append(packet(0x82, body + b"\0") if is_new else packet(0xA2, body))
            if is_new:
                held.append((client, topic))
            sent += 1
        for client, packets in lots.items():
            clients[client].socket.sendall(b"".join(packets))
        answered = [clients[client].poll() for client in range(len(clients))]
        del answered
        time.sleep(0.005)
    counted_tx.send(sent)

"""Membership: a node that is killed, nodes that are busy, a cut, and nodes that start at the same moment."""

import socket
import time

from brokers import Cluster, Node, bench, until
from client import connected
from parts import at_least, spread
from relay import Relays


def down(scale):
    """From kill -9 of a node until another says so."""
    rounds, times = at_least(5, scale), []
    for _ in range(rounds):
        with Cluster(3) as cluster:
            begun = time.monotonic()
            cluster.nodes[2].kill()
            times.append(until(lambda: cluster.nodes[0].sees().get("n3") == "down", "n3 is down") - begun)
    yield f"kill -9 until another node says `down`, {rounds} times: min / median / max", spread(times), "3 s"


def alarms(scale):
    """All nodes busy with messages for each other."""
    seconds = max(int(300 * scale), 5)
    with Cluster(3) as cluster:
        addresses = cluster.addresses()
        words = ["p2p", "--pairs", 60, "--qos", 1, "--window", 100, "--duration", f"{seconds}s"]
        turned = addresses[1:] + addresses[:1]
        took = bench(*words, pids=cluster.pids(), pub_target=addresses, sub_target=turned)
        called_down = sum(node.metric("cluster.peer.down") for node in cluster.nodes)
        links_lost = sum(node.metric("cluster.link.lost") for node in cluster.nodes)
    busy = f"{took['cpu_cores']:.1f} cores, {took['delivered_per_s']:,.0f} deliveries a second"
    yield f"false alarms in {seconds} s at full load ({busy}): called down, links lost", \
        f"{called_down}, {links_lost}", "0"


def heal(scale):
    """One node cut off from two, without a word from the links, and back."""
    seconds = max(60 * scale, 12)
    relays = Relays(3)
    nodes = []
    try:
        for number in range(3):
            seeds = [f"127.0.0.1:{relays.fronts[0]['port']}"] if number else []
            nodes.append(Node(f"n{number + 1}", seeds, relays.settings(number)))
            nodes[number].launch()
            # A joiner is ready when it has met the others, who dial its front.
            until(lambda: "\ncluster " in said(nodes[number]), "it has bound", pause=0.002)
            line = next(line for line in said(nodes[number]).splitlines() if line.startswith("cluster "))
            relays.leads_to(number, line.split(" listening on ")[1].split()[0])
            nodes[number].wait_until_ready()
        everybody = {node.name: "up" for node in nodes}
        see_all = lambda: all(node.sees() == everybody for node in nodes)  # noqa: E731
        until(see_all, "all see all")
        here, there = connected(nodes[0].address, "here"), connected(nodes[2].address, "there")
        relays.cut(2)
        begun = time.monotonic()
        until(lambda: nodes[0].sees().get("n3") == "down" and nodes[2].sees().get("n1") == "down", "both are down")
        here.subscribe("cut/subscribed/here", 1)
        there.publish("cut/retained/there", b"x", 1, True)
        time.sleep(max(begun + seconds - time.monotonic(), 0))
        relays.heal()
        healed = time.monotonic()
        late = connected(nodes[0].address, "late")
        routed, retained = None, None
        while (routed is None or retained is None) and time.monotonic() < healed + 60:
            there.publish("cut/subscribed/here", b"x")
            late.subscribe("cut/retained/#")  # each time it is told what is retained by now
            here.poll(0.005), late.poll(0.005)
            routed = routed or (time.monotonic() - healed if here.messages else None)
            retained = retained or (time.monotonic() - healed if late.messages else None)
        agreed = until(see_all, "all see all again") - healed
    finally:
        for node in nodes:
            node.stop()
    shown = " / ".join("never" if time is None else f"{time:.2f} s" for time in (routed, retained, agreed))
    yield f"heal after a cut of {seconds:.0f} s: a route of the cut is used / what was retained in it is there / all see all `up`", \
        shown, "5 s"


def said(node):
    with open(f"{node.directory}/log", encoding="utf-8") as log:
        return log.read()


def together(scale):
    """All nodes at the same moment, each with all others as seeds."""
    rounds = at_least(5, scale)
    for size in (3, 5):
        times, formed = [], 0
        for _ in range(rounds):
            ports = free_ports(size)
            nodes = []
            try:
                for number, port in enumerate(ports):
                    seeds = [f"127.0.0.1:{other}" for other in ports]
                    nodes.append(Node(f"n{number + 1}", seeds, {"cluster.bind": f"127.0.0.1:{port}"}))
                begun = time.monotonic()
                for node in nodes:
                    node.launch()
                for node in nodes:
                    node.wait_until_ready()
                everybody = {node.name: "up" for node in nodes}
                times.append(until(lambda: all(node.sees() == everybody for node in nodes), "one cluster") - begun)
                formed += routes_everywhere(nodes)
            finally:
                for node in nodes:
                    node.stop()
        yield f"{size} nodes started at the same moment, {rounds} times: to one cluster, min / median / max", spread(times), ""
        yield f"of these, every node reaches every other: {size} nodes", f"{formed} of {rounds}", "all"


def routes_everywhere(nodes):
    clients = [connected(node.address, f"of-{node.name}") for node in nodes]
    for client in clients:
        client.subscribe("all", 1)
    for client in clients:
        client.publish("all", b"x", 1)
    deadline = time.monotonic() + 5
    while any(len(client.messages) < len(nodes) for client in clients) and time.monotonic() < deadline:
        for client in clients:
            client.poll(0.01)
    return all(len(client.messages) == len(nodes) for client in clients)


def free_ports(count):
    """Free for TCP a moment ago: nodes that are to know each other cannot have the kernel choose."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports

"""Messages between nodes: what one costs beside the same on a single node, how many there can be, and how it grows."""

from brokers import Brokerd, Cluster, bench
from parts import at_least

RATE, PAIRS = 5000, 50


def p2p(scale):
    """50 publishers on one node, 50 subscribers on another, at a fixed rate."""
    for qos in (0, 1):
        load = ["p2p", "--pairs", PAIRS, "--rate", RATE, "--qos", qos, "--duration", seconds(10, scale)]
        alone = Brokerd({})
        try:
            single = alone.bench(*load)
        finally:
            alone.stop()
        with Cluster(3) as cluster:
            addresses = cluster.addresses()
            across = bench(*load, pids=cluster.pids(), pub_target=addresses[:1], sub_target=addresses[1:2])
        cost = [one["cpu_us_per_delivery"] for one in (single, across)]
        yield f"cross-node {PAIRS} to {PAIRS} at {RATE:,} a second, QoS {qos}: CPU a delivery of all nodes; a single node; ratio", \
            f"{cost[1]:.1f}; {cost[0]:.1f} us; {cost[1] / cost[0]:.2f}", "at most 2"
        late = [f"{one['latency_p50_us'] / 1000:.2f} / {one['latency_p99_us'] / 1000:.2f} ms" for one in (across, single)]
        yield f"its latency p50 / p99, QoS {qos}: cross-node; a single node; lost", \
            f"{late[0]}; {late[1]}; {across['lost'] + single['lost']}", ""


def closed(scale):
    """As many as go through from one node to another."""
    for qos in (1, 0):
        with Cluster(3) as cluster:
            addresses = cluster.addresses()
            load = ["p2p", "--pairs", 20, "--qos", qos, "--window", 100 if qos else 200, "--duration", seconds(10, scale)]
            took = bench(*load, pids=cluster.pids(), pub_target=addresses[:1], sub_target=addresses[1:2])
        figures = f"{took['delivered_per_s']:,.0f}; {took['cpu_us_per_delivery']:.2f} us; {took['load_cpu_cores']:.2f}"
        yield f"closed loop 20 to 20 cross-node, QoS {qos}: deliveries a second; CPU each; cores of the load", \
            figures, "100,000" if qos else ""


def growth(scale):
    """Publishers and subscribers spread over all nodes, never a pair on one."""
    for qos in (0, 1):
        costs = []
        for size in range(1, 6):
            with Cluster(size) as cluster:
                addresses = cluster.addresses()
                load = ["p2p", "--pairs", 60, "--rate", RATE, "--qos", qos, "--duration", seconds(10, scale)]
                turned = addresses[1:] + addresses[:1]
                took = bench(*load, pids=cluster.pids(), pub_target=addresses, sub_target=turned)
            costs.append(f"{took['cpu_us_per_delivery']:.1f}")
        yield f"CPU a delivery of all nodes at {RATE:,} a second, QoS {qos}, with 1 / 2 / 3 / 4 / 5 nodes", \
            " / ".join(costs) + " us", ""


def seconds(count, scale):
    return f"{at_least(count, scale)}s"

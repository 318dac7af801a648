"""The parts of tests/bench/cluster: each takes a scale and yields rows of (figure, value, aim)."""


def percentiles(times, unit=1e3, digits=2):
    """p50 / p99 / max of seconds, in milliseconds."""
    ordered = sorted(times)
    at = lambda share: ordered[min(int(len(ordered) * share), len(ordered) - 1)] * unit  # noqa: E731
    return " / ".join(f"{value:.{digits}f}" for value in (at(0.5), at(0.99), ordered[-1] * unit)) + " ms"


def spread(times):
    """min / median / max of seconds."""
    ordered = sorted(times)
    return " / ".join(f"{value:.2f}" for value in (ordered[0], ordered[len(ordered) // 2], ordered[-1])) + " s"


def at_least(count, scale, least=1):
    return max(int(count * scale), least)

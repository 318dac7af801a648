"""Medians and ratios of what tests/bench/compare has measured, as a Markdown table.

usage: table.py MEASUREMENTS.ndjson
"""

import json
import statistics
import sys

FIGURES = {
    "p2p": ["delivered_per_s", "cpu_us_per_delivery", "latency_p50_us", "latency_p99_us", "latency_p99.9_us", "lost"],
    "p2p closed": ["delivered_per_s", "cpu_us_per_delivery"],
    "idle": ["bytes_per_connection", "anonymous_per_connection"],
}


def main():
    with open(sys.argv[1], encoding="utf-8") as lines:
        measured = [json.loads(line) for line in lines]
    for one in measured:
        one["scenario"] += " closed" if "window" in one else ""
    print("| scenario | figure | mosquitto | brokerd | brokerd / mosquitto |")
    print("|---|---|---:|---:|---:|")
    for scenario, figures in FIGURES.items():
        of_scenario = [one for one in measured if one["scenario"] == scenario]
        for qos in sorted({one.get("qos", -1) for one in of_scenario}):
            name = scenario if qos < 0 else f"{scenario} QoS {qos}"
            for figure in figures:
                medians = [median(of_scenario, broker, qos, figure) for broker in ("mosquitto", "brokerd")]
                ratio = f"{medians[1] / medians[0]:.2f}" if medians[0] else "-"
                print(f"| {name} | {figure} | {medians[0]:,.1f} | {medians[1]:,.1f} | {ratio} |")


def median(measured, broker, qos, figure):
    return statistics.median(one[figure] for one in measured if one["broker"] == broker and one.get("qos", -1) == qos)


if __name__ == "__main__":
    main()

"""`python -m benches`: drain a backlog with each contender for each fleet, then Rollcall's live latency."""

import argparse
from pathlib import Path

import orjson

from benches.drain import Drained, drain
from benches.latency import Latency, latency
from benches.report import as_dict, as_text, machine
from benches.world import World, world

CONTENDERS = ("rollcall", "naive", "careful", "ceiling")
SHARES = {"naive": 20, "careful": 2}
"""The slow ones get a part of the backlog, or it takes all day; the reports say how many messages it was."""
RATES = (1_000, 5_000)
LATENCY_DEVICES = 20_000


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--devices", default="1000,20000,100000", help="fleet sizes, comma-separated")
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--json", type=Path, help="write the result here, too")
    parser.add_argument("--no-latency", action="store_true")
    return parser.parse_args()


def drain_all(there: World, fleets: list[int], contenders: list[str], messages: int) -> list[Drained]:
    """Drain with each contender for each fleet."""
    drains = []
    for devices in fleets:
        template = there.seed(devices)
        for contender in contenders:
            count = messages // SHARES.get(contender, 1)
            drains.append(drain(there, template, contender, count, devices))
            print(drains[-1], flush=True)
    return drains


def latencies(there: World, fleets: list[int]) -> list[Latency]:
    """Measure the latency at each rate."""
    template = f"fleet_{LATENCY_DEVICES}"
    if LATENCY_DEVICES not in fleets:
        there.seed(LATENCY_DEVICES)
    return [latency(there, template, rate, LATENCY_DEVICES) for rate in RATES]


def main() -> None:
    """Run it all and print the tables."""
    wanted = options()
    fleets = [int(size) for size in wanted.devices.split(",")]
    with world() as there:
        about = machine(there)
        drains = drain_all(there, fleets, wanted.contenders.split(","), wanted.messages)
        live = [] if wanted.no_latency else latencies(there, fleets)
    result = as_dict(about, drains, live)
    print(as_text(result))
    if wanted.json:
        wanted.json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()

"""`python -m benches`: drain a backlog with each contender, kill each on the way, Rollcall live, and its webhooks."""

import argparse
from collections.abc import Callable
from pathlib import Path

import orjson

from benches import growth, indexes, memory, peers, replicas
from benches.drain import Drained, drain
from benches.flood import floods
from benches.latency import Latency, latency
from benches.loss import Loss, loss
from benches.reconcile import as_lines, reconcile_all
from benches.report import as_dict, as_text, machine
from benches.webhooks import webhooks
from benches.world import World, world

CONTENDERS = ("rollcall", "first_contact", "naive", "careful", "ceiling")
SHARES = {"naive": 20, "careful": 2}
"""The slow ones get a part of the backlog, or it takes all day; the reports say how many messages it was."""
RATES = (200, 1_000, 5_000)
MESSAGES = 200_000
FLEET = 20_000
"""The fleet of the other measurements."""


Alone = Callable[[World, int | None], list[str]]
ALONE: dict[str, Alone] = {
    "replicas": lambda there, n: replicas.as_lines(
        replicas.replicas(there, there.known(FLEET), n or MESSAGES, FLEET)
    ),
    "peers": lambda there, n: peers.as_lines(peers.peers(there, n or MESSAGES, FLEET)),
    "growth": lambda there, n: growth.as_lines(growth.growth(there, n or MESSAGES)),
    "memory": lambda there, n: memory.as_lines(memory.memory(there, n or memory.MESSAGES)),
    "indexes": lambda there, n: indexes.as_lines(indexes.indexes(there, n or MESSAGES, FLEET)),
}
"""Measurements that run only when they are asked for, and their tables."""


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("--messages", type=int, help="200,000; for memory 1,000,000")
    parser.add_argument("--devices", default="1000,20000,100000", help="fleet sizes, comma-separated")
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--json", type=Path, help="write the result here, too")
    measurements = ("drain", "loss", "latency", "webhooks", "reconcile", "flood", "jetstream", *ALONE)
    parser.add_argument("--only", choices=measurements, help="one of the measurements")
    parser.add_argument("--flood", type=int, default=1_000_000, help="invented device ids of `--only flood`")
    parser.add_argument("--listed", type=int, default=50_000, help="devices of the listing to reconcile")
    return parser.parse_args()


def drain_all(there: World, fleets: list[int], contenders: list[str], messages: int) -> list[Drained]:
    """Drain with each contender for each fleet."""
    drains = []
    for devices in fleets:
        for contender in contenders:
            template = there.seed(devices) if contender == "first_contact" else there.known(devices)
            count = messages // SHARES.get(contender, 1)
            drains.append(drain(there, template, contender, count, devices))
            print(drains[-1], flush=True)
    return drains


def lose_all(there: World, contenders: list[str]) -> list[Loss]:
    """Kill each contender once and count what is lost."""
    template = there.known(FLEET)
    return [
        loss(there, template, contender, FLEET) for contender in contenders if contender != "first_contact"
    ]


def latencies(there: World) -> list[Latency]:
    """Measure the latency at each rate."""
    template = there.known(FLEET)
    return [latency(there, template, rate, FLEET) for rate in RATES]


def main() -> None:
    """Run what is wanted and print the tables."""
    wanted = options()
    if wanted.only == "reconcile":
        print("\n".join(as_lines(reconcile_all(wanted.listed))))
        return
    fleets, contenders = [int(size) for size in wanted.devices.split(",")], wanted.contenders.split(",")
    with world() as there:
        about = machine(there)
        if wanted.only in ALONE:
            lines = ALONE[wanted.only](there, wanted.messages)
            print(", ".join(f"{name} {value}" for name, value in about.items()))
            print("\n".join(["", *lines]))
            return
        messages = wanted.messages or MESSAGES
        if wanted.only == "jetstream":
            from benches import jetstream  # its library is an extra

            fetched = jetstream.jetstream(there, messages, FLEET)
            print(", ".join(f"{name} {value}" for name, value in about.items()))
            print("\n".join(["", *jetstream.as_lines(fetched)]))
            return
        drains = drain_all(there, fleets, contenders, messages) if wanted.only in (None, "drain") else []
        losses = lose_all(there, contenders) if wanted.only in (None, "loss") else []
        live = latencies(there) if wanted.only in (None, "latency") else []
        flooded = floods(there, there.known(FLEET), FLEET, wanted.flood) if wanted.only == "flood" else []
        posted = webhooks(there, FLEET) if wanted.only in (None, "webhooks") else []
    result = as_dict(about, drains, losses, live, posted, flooded)
    print(as_text(result))
    if wanted.json:
        wanted.json.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()

"""`python -m benches`: drain a backlog with each contender, kill each on the way, Rollcall live, and its webhooks."""

import argparse
from pathlib import Path

import orjson

from benches.drain import Drained, drain
from benches.flood import floods
from benches.latency import Latency, latency
from benches.loss import Loss, loss
from benches.reconcile import as_lines, reconcile_all
from benches.replicas import as_lines as as_shares
from benches.replicas import replicas
from benches.report import as_dict, as_text, machine
from benches.webhooks import webhooks
from benches.world import World, world

CONTENDERS = ("rollcall", "first_contact", "naive", "careful", "ceiling")
SHARES = {"naive": 20, "careful": 2}
"""The slow ones get a part of the backlog, or it takes all day; the reports say how many messages it was."""
RATES = (1_000, 5_000)
FLEET = 20_000
"""The fleet of the other measurements."""


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benches", description=__doc__)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--devices", default="1000,20000,100000", help="fleet sizes, comma-separated")
    parser.add_argument("--contenders", default=",".join(CONTENDERS))
    parser.add_argument("--json", type=Path, help="write the result here, too")
    measurements = ("drain", "loss", "latency", "webhooks", "reconcile", "replicas", "flood", "jetstream")
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
        if wanted.only == "replicas":
            shared = replicas(there, there.known(FLEET), wanted.messages, FLEET)
            print(", ".join(f"{name} {value}" for name, value in about.items()))
            print("\n".join(["", *as_shares(shared)]))
            return
        if wanted.only == "jetstream":
            from benches import jetstream  # its library is an extra

            fetched = jetstream.jetstream(there, wanted.messages, FLEET)
            print(", ".join(f"{name} {value}" for name, value in about.items()))
            print("\n".join(["", *jetstream.as_lines(fetched)]))
            return
        drains = (
            drain_all(there, fleets, contenders, wanted.messages) if wanted.only in (None, "drain") else []
        )
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

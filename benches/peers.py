"""Rollcall beside what one would otherwise take: what each acknowledges and when, how fast it is, what a kill loses."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benches.drain import Drained, drain
from benches.loss import Loss, loss
from benches.registries import InstallError, folder, install_faststream, install_node_red
from benches.world import World
from tests.servers.mosquitto import MosquittoServer

FEW_IN_FLIGHT = ("max_inflight_messages 500",)
"""FastStream starts to handle messages after SUBACK and zmqtt buffers 1,000 of them: of a session whose messages all
come at once, as this broker sends them with no limit, it would never see the SUBACK."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Who, when it acknowledges (read in its code), which part of the backlog it gets, how it is installed."""

    name: str
    acknowledges: str
    share: int
    install: Callable[[Path], dict[str, str]] | None = None
    broker: tuple[str, ...] = ()
    """Lines of its broker's configuration that differ."""


PEERS = (
    Peer("rollcall", "after the commit of a batch", 1),
    Peer("careful", "after the commit of a batch (500 or 100 ms)", 2),
    Peer("naive", "when aiomqtt puts it into its queue, before the UPDATE", 20),
    Peer("faststream", "when the handler has ended: after the UPDATE", 20, install_faststream, FEW_IN_FLIGHT),
    Peer("node_red", "when the flow has been given it, before the UPDATE", 20, install_node_red),
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One peer's drain and its kill, or why there is none."""

    peer: Peer
    drained: Drained | None
    loss: Loss | None
    missing: str = ""


def peers(world: World, messages: int, devices: int, among: tuple[Peer, ...] = PEERS) -> list[Compared]:
    """Install, drain and kill one after the other."""
    template = world.known(devices)
    found = []
    with folder() as place:
        for peer in among:
            found.append(_compared(world, template, peer, messages, devices, place))
            print(found[-1], flush=True)
    return found


def _compared(world: World, template: str, peer: Peer, messages: int, devices: int, place: Path) -> Compared:
    try:
        settings = peer.install(place) if peer.install else {}
    except InstallError as error:
        return Compared(peer, None, None, str(error))
    with _broker(world, peer.broker) as beside:
        drained = drain(beside, template, peer.name, messages // peer.share, devices, settings)
        return Compared(peer, drained, loss(beside, template, peer.name, devices, settings))


@contextmanager
def _broker(world: World, lines: tuple[str, ...]) -> Iterator[World]:
    """Give the world's own broker, or one that has these lines, too."""
    if not lines:
        yield world
        return
    broker = MosquittoServer(*lines)
    try:
        broker.start()
        yield World(broker, world.postgres)
    finally:
        broker.destroy()


def as_lines(found: list[Compared]) -> list[str]:
    """Return the table in Markdown; each message of the kill is in a row, at the broker or lost."""
    lines = [
        "| | acknowledges | messages | msg/s | CPU us/msg | Postgres us/msg | peak MiB | rows wrong | killed once:"
        " sent | in the rows at the kill | in the rows in the end | still at the broker | lost |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for one in found:
        if one.drained is None or one.loss is None:
            lines.append(f"| {one.peer.name} | not measured: {one.missing}" + " | -" * 11 + " |")
            continue
        drained, killed = one.drained, one.loss
        lines.append(
            f"| {one.peer.name} | {one.peer.acknowledges} | {drained.messages:,} | {drained.per_second:,.0f}"
            f" | {drained.cpu_us:.1f} | {drained.postgres_cpu_us:.1f} | {drained.peak_mib:.0f} | {drained.rows_wrong}"
            f" | {killed.messages:,} | {killed.before_kill:,} | {killed.messages - killed.waiting - killed.lost:,}"
            f" | {killed.waiting:,} | {killed.lost:,} |"
        )
    return lines

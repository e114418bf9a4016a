"""The benches run: with a handful of messages, which measures nothing."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benches import growth, indexes, jetstream, memory, peers, registries
from benches.contenders import node_red
from benches.contenders.place import Place
from benches.load import Client, backlog, expected
from benches.loss import still_waiting
from benches.world import INTEGRATION, World, world
from tests.servers.nats import nats_server

MESSAGES = 200
DEVICES = 20


@pytest.fixture(scope="module")
def there() -> Iterator[World]:
    with world() as found:
        yield found


def test_every_row_is_right_after_growth_is_measured(there: World) -> None:
    found = growth.growth(there, 2_000, (1_000, 1_100))
    assert [(one.max_batch, one.drained.devices) for one in found] == [(500, 1_000), (500, 1_100)]
    assert [one.drained.rows_wrong for one in found] == [0, 0]
    assert len(growth.as_lines(found)) == 2 + len(found)


def test_a_fleet_that_was_made_looks_like_one_that_rollcall_has_met(there: World) -> None:
    name = growth.template(there, 1_100)
    bare = (
        "select count(*) from devices d left join rollcall.device_identity i on i.device_id = d.id left join"
    )
    bare += " rollcall.device_state s on s.device_id = d.id where i.device_id is null or s.battery_at is null"
    assert there.postgres.psql("select count(*) from devices", name) == "1100"
    assert there.postgres.psql(bare, name) == "0"


def test_every_row_is_right_with_and_without_the_platforms_indexes(
    there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "RESOLUTIONS_S", (60,))
    found = indexes.indexes(there, MESSAGES, DEVICES)
    assert [one.drained.rows_wrong for one in found] == [0] * 4
    assert len(indexes.as_lines(found)) == 2 + len(found)


def test_what_rollcall_holds_at_most_is_no_less_than_what_it_holds_idle(there: World) -> None:
    (held,) = memory.memory(there, MESSAGES, (DEVICES,), idle_s=0)
    assert held.rows_wrong == 0
    assert held.peak_mib >= held.idle_mib > 0
    assert len(memory.as_lines([held])) == 3


def test_every_row_is_right_after_a_stream_is_drained(there: World, monkeypatch: pytest.MonkeyPatch) -> None:
    nats_server()
    monkeypatch.setattr(jetstream, "REPLICAS", (2,))
    found = jetstream.jetstream(there, MESSAGES, DEVICES)
    assert [one.rows_wrong for one in found] == [0] * 3
    assert len(jetstream.as_lines(found)) == 2 + len(found)


def test_a_kill_takes_nothing_from_who_acknowledges_after_the_commit(there: World) -> None:
    (careful,) = [peer for peer in peers.PEERS if peer.name == "careful"]
    (found,) = peers.peers(there, MESSAGES, DEVICES, (careful,))
    assert found.drained is not None
    assert found.drained.rows_wrong == 0
    assert found.loss is not None
    assert (found.loss.messages, found.loss.waiting, found.loss.lost) == (DEVICES, 0, 0)


def test_what_nobody_took_still_waits_at_the_broker(there: World) -> None:
    place = there.place(there.seed(DEVICES), "naive")
    publisher = Client(place.port, "publisher")
    publisher.publish(backlog(DEVICES, DEVICES))
    assert still_waiting(place) == set(expected(DEVICES, DEVICES))
    publisher.close()
    there.forget(place)


def test_a_peer_that_cannot_be_had_is_in_the_table_with_the_reason(
    there: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registries, "which", lambda name: None)
    found = peers.peers(there, MESSAGES, DEVICES, peers.PEERS[-1:])
    assert "not measured: Node-RED: there is no npm" in peers.as_lines(found)[-1]


def test_an_installer_that_fails_is_quoted() -> None:
    with pytest.raises(registries.InstallError, match="sh ended with 3 and said: no such package"):
        registries.run("FastStream", ["sh", "-c", "echo no such package >&2; exit 3"])


def test_the_flow_of_node_red_is_wired_and_reads_what_a_contender_is_told(tmp_path: Path) -> None:
    command = node_red.write(tmp_path)
    nodes = {node["id"]: node for node in json.loads((tmp_path / "flows.json").read_text())}
    wires = {target for node in nodes.values() for output in node.get("wires", []) for target in output}
    assert wires <= nodes.keys()
    assert nodes["in"]["broker"] in nodes
    told = Place("postgresql://there", 1883, "me", INTEGRATION).environment()
    text = (tmp_path / "flows.json").read_text()
    for name in ("BENCH_PORT", "BENCH_CLIENT_ID", "BENCH_DATABASE", "BENCH_INTEGRATION_ID"):
        assert name in told
        assert name in text
    assert command[-2:] == ["--userDir", str(tmp_path)]

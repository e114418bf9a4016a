"""From the settings of a row to what a JetStream source is told, and what is missing in words."""

import json
import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from ingest.crypto import Keyring
from ingest.errors import Misconfigured
from ingest.integrations.planner import Planner
from ingest.integrations.plans import SessionPlan, StreamPlan
from ingest.jetstream.source import ask_again_in
from ingest.settings import load_settings
from ingest.store.config.integrations import IntegrationRow
from tests.servers.nats import nats_server

PAGE = Path(__file__).parents[3] / "docs" / "nats.md"


def planner() -> Planner:
    return Planner(load_settings(database_url="postgres://x"), Keyring.from_setting(None))


def test_the_settings_on_the_page_are_understood() -> None:
    (text,) = re.findall(r"```json\n(.*?)\n```", PAGE.read_text(), re.DOTALL)
    plan = planner().plan(IntegrationRow(uuid4(), "fleet", json.loads(text)))
    assert isinstance(plan, StreamPlan)
    assert plan.cluster.servers == ("n1:4222", "n2:4222", "n3:4222")
    assert (plan.broker.username, plan.cluster.ack_wait_s) == ("rollcall", 30)
    assert plan.broker.client_id.endswith("-jetstream")


def test_without_servers_it_is_the_host_at_the_port_of_nats() -> None:
    plan = planner().plan(IntegrationRow(uuid4(), "fleet", {"protocol": "jetstream", "host": "broker"}))
    assert isinstance(plan, StreamPlan)
    assert plan.cluster.servers == ("broker:4222",)


@pytest.mark.parametrize(
    "server", ["nohost", "user:secret@host:4222", "nats://host:4222", "a..b:4222", "host:0", "host:65536"]
)
def test_a_server_that_is_not_host_and_port_is_refused(server: str) -> None:
    with pytest.raises(Misconfigured, match="servers"):
        planner().plan(IntegrationRow(uuid4(), "fleet", {"nats": {"servers": [server]}}))


def test_the_ordinary_start_does_not_import_the_library() -> None:
    told = "import sys, ingest.cli, ingest.sessions.supervisor; sys.exit('nats' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told]).returncode == 0


def test_without_the_extra_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats", None)
    with pytest.raises(Misconfigured, match=r"'fleet': .*pip install 'rollcall\[nats\]'"):
        planner().plan(IntegrationRow(uuid4(), "fleet", {"protocol": "jetstream"}))
    assert isinstance(planner().plan(IntegrationRow(uuid4(), "fleet", {})), SessionPlan)


@pytest.mark.parametrize("key", ["creds_file", "nkey_file"])
def test_keys_without_the_package_that_reads_them_are_an_error_that_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setitem(sys.modules, "nkeys", None)
    settings = {"protocol": "jetstream", "nats": {key: "/etc/nats/rollcall"}}
    with pytest.raises(Misconfigured, match=r"'fleet': .*pip install nkeys"):
        planner().plan(IntegrationRow(uuid4(), "fleet", settings))


def test_it_has_no_slots() -> None:
    plan = planner().plan(IntegrationRow(uuid4(), "fleet", {"protocol": "jetstream", "slots": 4}))
    assert isinstance(plan, StreamPlan)
    assert plan.slots == 1
    assert plan.filters == planner().plan(IntegrationRow(uuid4(), "fleet", {})).filters


def test_nats_server_takes_the_configuration_on_the_page(tmp_path: Path) -> None:
    (text,) = re.findall(r"```\n(server_name.*?)\n```", PAGE.read_text(), re.DOTALL)
    config = tmp_path / "nats.conf"
    config.write_text(text)
    tried = subprocess.run([nats_server(), "-t", "-c", config], capture_output=True, text=True)
    assert tried.returncode == 0, tried.stderr


def test_a_question_that_a_backlog_makes_slow_is_asked_less_often() -> None:
    assert ask_again_in(5.0, 0.002) == 5.0
    assert ask_again_in(5.0, 0.5) == pytest.approx(25.0)

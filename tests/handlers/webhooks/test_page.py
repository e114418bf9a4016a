"""docs/webhooks.md tells the truth: its examples are understood, and it names every shape, method and kind."""

import json
import re
from pathlib import Path

import pytest

from handlers.webhooks.delivery import Handshake, Request
from handlers.webhooks.shapes import DECODERS
from ingest.webhooks.auth import METHODS, Authenticator
from tests.handlers.webhooks.samples import CONTEXT, NOW
from tests.handlers.webhooks.test_fuzz import DEAD

PAGE = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text()
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", PAGE, re.DOTALL | re.MULTILINE))
HEADERS = {"golioth_pipelines": {"ce-source": "66f1d0a3", "ce-type": "io.golioth.data.v1/.s/sensor"}}


def examples(text: str) -> list[bytes]:
    return [block.encode() for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]


def test_every_shape_has_a_section() -> None:
    assert SECTIONS.keys() == DECODERS.keys()


@pytest.mark.parametrize("shape", sorted(DECODERS))
def test_every_example_is_understood(shape: str) -> None:
    bodies = examples(SECTIONS[shape])
    assert bodies
    for body in bodies:
        outcome = DECODERS[shape](Request(body, HEADERS.get(shape, {}), NOW), CONTEXT)
        assert not isinstance(outcome, Handshake)
        for event in outcome:
            assert event.decoded.observations
            assert not event.decoded.field_errors
            assert not event.decoded.skewed


def test_the_example_of_the_settings_is_taken() -> None:
    settings = json.loads(examples(PAGE)[0])
    assert Authenticator.parse(settings, None).method == settings["webhook"]["auth"]


def test_every_method_and_every_kind_of_dead_letter_has_a_row() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert {*METHODS, *DEAD} <= rows

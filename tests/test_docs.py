"""The pages say what the code does: names and numbers that would otherwise age."""

import inspect
import re
from pathlib import Path

import pytest

from ingest.api.settings import ApiSettings
from ingest.app import open_pool
from ingest.settings import PREFIX, Settings
from ingest.store.commit import retention

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.md"))
DATABASE = (ROOT / "docs/database.md").read_text()


def anchor(heading: str) -> str:
    """The anchor that a heading has on the usual viewers of Markdown."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_that_a_page_names_is_a_setting(page: Path) -> None:
    named = {name.lower() for name in re.findall(rf"`{PREFIX}(\w+)`", page.read_text())}
    assert named <= Settings.model_fields.keys() | ApiSettings.model_fields.keys()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_heading_that_a_page_links_to_exists(page: Path) -> None:
    for target, fragment in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", page.read_text()):
        there = page.parent / target if target else page
        assert fragment in {anchor(one) for one in re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_table_and_function_of_ours_that_a_page_names_exists(page: Path) -> None:
    known = (ROOT / "schema/snapshot.sql").read_text()
    for name in set(re.findall(r"`rollcall\.(\w+)", page.read_text())):
        assert re.search(rf"\brollcall\.{name}\b", known), name


def test_the_page_of_the_database_has_what_is_kept_and_for_how_long() -> None:
    rows = dict(re.findall(r"^\| `rollcall\.(\w+)`[^|]*\| ([^|]+?) \|$", DATABASE, re.MULTILINE))
    assert rows == {
        "device_events": f"{retention.EVENTS_KEPT_DAYS} days",
        "audit": f"{retention.AUDIT_KEPT_DAYS} days, whatever became of what a row is about",
        "dead_letters": f"{retention.DEAD_LETTERS_KEPT_DAYS} days, and {retention.DEAD_LETTERS_KEPT:,}"
        " for each integration and kind",
        "parked_devices": f"{retention.PARKED_KEPT_DAYS} days",
        "field_errors": f"{retention.FIELD_ERRORS_KEPT_DAYS} days",
        "webhook_events": f"{retention.WEBHOOK_EVENTS_KEPT_DAYS} day",
        "api_requests": f"{retention.API_REQUESTS_KEPT_DAYS} day",
        "reconcile_runs": f"the last {retention.RUNS_KEPT} of each integration",
    }
    assert f"portions of {retention.CHUNK:,} rows" in DATABASE


def test_the_page_of_the_database_has_how_many_connections_a_commit_may_take() -> None:
    most = inspect.signature(open_pool).parameters["most"].default
    assert f"| committing, sessions, housekeeping | {most} |" in DATABASE

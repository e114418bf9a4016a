"""docs/security.md follows ASVS 5.0: its numbers are that edition's, and its files and tests are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/security.md").read_text()
SECTIONS = {
    1: 5,
    2: 4,
    3: 7,
    4: 4,
    5: 4,
    6: 8,
    7: 6,
    8: 4,
    9: 2,
    10: 7,
    11: 7,
    12: 3,
    13: 4,
    14: 3,
    15: 4,
    16: 5,
    17: 3,
}
"""The chapters of ASVS 5.0.0 and how many sections each has."""


def test_no_number_on_the_page_is_of_an_edition_before_5_0() -> None:
    assert "ASVS 5.0.0" in PAGE
    assert "4.0.3" not in PAGE
    numbers = re.findall(
        r"(?<![\d.])(\d{1,2})\.(\d{1,2})\.\d{1,2}(?![\d.]|/)", PAGE.replace("ASVS 5.0.0", "")
    )
    assert len(numbers) > 100
    odd = [one for one in numbers if int(one[1]) > SECTIONS.get(int(one[0]), 0)]
    assert [one for one in odd if one not in {("127", "0"), ("0", "0")}] == []


def test_every_chapter_is_met_not_met_or_without_an_object() -> None:
    named = {int(one) for one in re.findall(r"(?<![\d.])(\d{1,2})(?:\.\d{1,2}){1,2}(?![\d.])", PAGE)}
    assert set(SECTIONS) - {17} <= named
    assert "WebRTC (17)" in PAGE
    assert "## What does not hold" in PAGE


def test_every_file_and_test_on_the_page_is_there() -> None:
    for name in re.findall(
        r"`((?:ingest|tests|docs|handlers|postgres|mosquitto|scripts|schema)/[\w./]*)`", PAGE
    ):
        assert (ROOT / name).exists(), name

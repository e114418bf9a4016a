"""The row that an event means, out of the rows that its keys name."""

from uuid import UUID

from handlers.events import DeviceKey
from handlers.identity import Candidate, Match, label, match

A, B, C = UUID(int=1), UUID(int=2), UUID(int=3)


def test_where_all_keys_name_one_row_that_is_meant() -> None:
    assert match([]) == Match(None, (), ())
    assert match([Candidate(A, "external")]) == Match(A)
    assert match([Candidate(A, "external"), Candidate(A, "serial"), Candidate(A, "hardware")]) == Match(A)


def test_where_keys_name_several_rows_none_is_meant() -> None:
    assert match([Candidate(B, "serial"), Candidate(A, "hardware")]) == Match(conflicting=(A, B))


def test_of_rows_with_one_external_id_the_oldest_is_meant_and_the_others_are_duplicates() -> None:
    rows = [Candidate(B, "external"), Candidate(A, "external"), Candidate(B, "external")]
    assert match(rows) == Match(B, (A,))


def test_of_rows_with_one_serial_number_or_hardware_id_the_oldest_is_meant_alone() -> None:
    assert match([Candidate(B, "serial"), Candidate(A, "serial")]) == Match(B)
    assert match([Candidate(C, "hardware"), Candidate(A, "hardware")]) == Match(C)


def test_people_know_a_device_by_its_first_key() -> None:
    assert label(DeviceKey("e", "s", ("h",))) == "e"
    assert label(DeviceKey(None, "s", ("h",))) == "s"
    assert label(DeviceKey(None, None, ("h", "i"))) == "h"
    assert label(DeviceKey(None)) == ""

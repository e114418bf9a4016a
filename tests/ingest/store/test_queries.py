"""The named blocks of schema/queries."""

import ast
from pathlib import Path

import pytest

from ingest.store.queries import FOLDER, queries, read

ROOT = Path(__file__).parents[3]


def test_the_blocks_of_all_files_are_found_by_name(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text(
        "-- Words.\n\n-- name: one\nselect 1;\n\n-- name: two\n-- why\nselect 2;\n"
    )
    (tmp_path / "b.sql").write_text("-- name: three\nselect 3;\n")
    assert read(tmp_path) == {"one": "select 1", "two": "-- why\nselect 2", "three": "select 3"}


@pytest.mark.parametrize("again", ["a.sql", "b.sql"])
def test_a_name_that_comes_twice_in_one_file_or_in_two_is_an_error(tmp_path: Path, again: str) -> None:
    (tmp_path / "a.sql").write_text("-- name: one\nselect 1;\n")
    with (tmp_path / again).open("a") as file:
        file.write("-- name: one\nselect 2;\n")
    with pytest.raises(ValueError, match=rf"{again}.*'one'.*twice"):
        read(tmp_path)


def test_every_block_is_asked_for_by_somebody() -> None:
    words = {
        node.value
        for path in (ROOT / "ingest").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert queries().keys() - words == set()


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.sql")), ids=lambda file: file.name)
def test_a_file_says_what_it_is_for_and_is_not_long(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert lines[0].startswith("-- ")
    assert not lines[0].startswith("-- name: ")
    assert len(lines) <= 300

"""The house rules: locks, layers, scripts, docstrings, and a README that tells the truth."""

import ast
import os
import re
import tomllib
from pathlib import Path

import pytest
import typer

from ingest.cli import application
from ingest.settings import PREFIX, Settings
from tests import file_index

ROOT = Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKS = {"run": [], "local": ["local"], "dev": ["dev"]}


def canonical(requirement: str) -> str:
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def needed(extras: list[str]) -> set[str]:
    """The distributions that pyproject.toml names for these extras, extras of our own followed."""
    names = {canonical(line) for line in PROJECT["dependencies"]}
    for extra in extras:
        for line in EXTRAS[extra]:
            own = re.match(r"rollcall\[(.+)\]", line)
            names |= needed(own.group(1).split(",")) if own else {canonical(line)}
    return names


def blocks(lock: str) -> dict[str, str]:
    """Each pinned distribution of a lock, with everything that the lock says of it."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return {canonical(block): block for block in re.split(r"\n(?=\S)", text) if block.strip()}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_dependency_and_the_build(lock: str) -> None:
    assert needed(LOCKS[lock]) | {"hatchling", "editables"} <= blocks(lock).keys()


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_one_version_with_hashes_and_names_no_registry(lock: str) -> None:
    for name, block in blocks(lock).items():
        assert re.match(r"[\w.-]+==[\w.]+", block), name
        assert "--hash=sha256:" in block, name
        assert not re.search(r"://|--index|--find-links", block), name


def test_the_locks_agree() -> None:
    pins = {lock: {name: block.split()[0] for name, block in blocks(lock).items()} for lock in LOCKS}
    assert pins["run"].items() <= pins["local"].items() <= pins["dev"].items()


def test_every_contract_of_the_layers_is_there() -> None:
    contracts = {contract["name"]: contract for contract in PYPROJECT["tool"]["importlinter"]["contracts"]}
    pure = next(contract for name, contract in contracts.items() if name.startswith("handlers is pure"))
    assert {"ingest", "asyncio", "time", "logging", "os", "random"} <= set(pure["forbidden_modules"])
    assert any("asyncpg" in contract.get("forbidden_modules", ()) for contract in contracts.values())
    rooms = next(contract for contract in contracts.values() if contract["type"] == "layers")
    assert rooms["containers"] == ["ingest"]
    assert rooms["exhaustive"]
    assert [layer.split()[0] for layer in rooms["layers"][:2]] == ["cli", "app"]


NO_SUBJECTS = ("What", "Which", "Whether", "Who", "Of")
LOOSE = {"__init__", "errors", "settings", "clock", "backoff", "tasks", "crypto", "log", "problems"}


def test_no_file_lies_loose_beyond_the_words_that_all_parts_use() -> None:
    assert {path.stem for path in (ROOT / "ingest").glob("*.py")} == LOOSE


def test_a_module_docstring_begins_with_its_subject() -> None:
    """A relative clause as a name ("What is ...") leaves the reader to guess the noun."""
    folders = ("handlers", "ingest", "tests", "benches")
    modules = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    first = {path: (ast.get_docstring(ast.parse(path.read_text())) or "").split(" ")[0] for path in modules}
    wrong = [str(path.relative_to(ROOT)) for path, word in first.items() if word in NO_SUBJECTS]
    assert not wrong


@pytest.mark.parametrize(
    "script", ["scripts/run", "scripts/test", "scripts/check", "scripts/audit", ".ci/run"]
)
def test_a_script_is_executable_and_stops_at_the_first_failure(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    text = (ROOT / script).read_text()
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text


def commands_of(page: str) -> list[str]:
    shell = re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    lines = "\n".join(shell).replace("\\\n", " ").splitlines()
    return [line.split("#")[0].strip() for line in lines if line.strip() and not line.startswith("#")]


def test_every_script_that_the_readme_names_exists() -> None:
    scripts = [line.split()[0] for line in commands_of("README.md") if line.startswith(("scripts/", ".ci/"))]
    assert {"scripts/run", "scripts/test"} <= set(scripts)
    for script in scripts:
        assert os.access(ROOT / script, os.X_OK), script


PAGES = [
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "mosquitto/README.md",
    "schema/README.md",
    *sorted(
        str(page.relative_to(ROOT))
        for page in (ROOT / "docs").rglob("*.md")
        if "**Status.** Superseded" not in page.read_text()
    ),
]


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text()
    named = re.findall(
        r"`((?:handlers|ingest|schema|tests|docs|scripts|requirements|mosquitto)/[\w./-]*)`", text
    )
    here = (ROOT / page).parent
    linked = [link for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text) if "://" not in link]
    missing = [path for path in named if not (ROOT / path).exists()]
    missing += [path for path in linked if not (here / path).exists()]
    assert not missing


def flags_of(words: list[str]) -> set[str]:
    """The options of the command that `words` begins with. Raises: KeyError when there is no such command."""
    command = typer.main.get_command(application())
    while subcommands := getattr(command, "commands", None):
        command = subcommands[words.pop(0)]
    return {flag for parameter in command.params for flag in parameter.opts}


def test_every_rollcall_command_that_the_readme_names_exists_with_its_options() -> None:
    lines = [line.split()[1:] for line in commands_of("README.md") if line.startswith("rollcall ")]
    assert lines
    for words in lines:
        assert {word for word in words if word.startswith("--")} <= flags_of(list(words))


def test_the_commands_of_the_scripts_and_the_image_exist() -> None:
    assert "--data" in flags_of(["up"])
    assert "--migrate" in flags_of(["run"])
    flags_of(["version"])


def test_the_page_of_settings_has_each_one_and_its_default() -> None:
    rows = re.findall(
        rf"^\| `{PREFIX}(\w+)` \|\s*([^|]*?)\s*\|", (ROOT / "docs/operations.md").read_text(), re.MULTILINE
    )
    page = {name.lower(): default for name, default in rows}
    assert page.keys() == Settings.model_fields.keys()
    for name, field in Settings.model_fields.items():
        if field.default is not None and not field.is_required():
            assert page[name] == str(field.default), name


def test_every_file_that_a_source_names_exists() -> None:
    """Docstrings and comments send the reader on."""
    named = re.compile(
        r"\b(?:handlers|ingest|schema|tests|docs|benches|scripts)/[\w./-]+\.(?:py|md|sql|jsonl?)\b"
    )
    sources = [
        path
        for folder in ("handlers", "ingest", "tests", "benches", "schema")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".sql")
    ]
    missing = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sources
        for name in named.findall(path.read_text())
        if not (ROOT / name).exists()
    }
    assert not missing


def test_the_index_of_decisions_names_each_with_its_status() -> None:
    folder = ROOT / "docs/adr"
    index = (folder / "README.md").read_text()
    pages = sorted(page.name for page in folder.glob("0*.md"))
    assert re.findall(r"\((0\d{3}-[\w-]+\.md)\)", index) == pages
    for page in pages:
        superseded = "**Status.** Superseded" in (folder / page).read_text()
        line = next(line for line in index.splitlines() if f"({page})" in line)
        assert ("superseded by" in line) is superseded, page


def test_the_file_index_is_what_the_docstrings_say() -> None:
    assert file_index.PAGE.read_text() == file_index.made(), "python -m tests.file_index --write"

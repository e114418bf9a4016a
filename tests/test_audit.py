"""scripts/audit: red for what is known to be vulnerable, and never green by silence. pip-audit's answers are given."""

import json
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GOOD = {"name": "good", "version": "1", "vulns": []}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}
BAD = {"name": "bad", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}


@pytest.mark.parametrize(
    "packages, code, said",
    [
        ([GOOD], 0, "1 of 1 packages audited"),
        ([GOOD, UNKNOWN], 0, "NOT AUDITED, the index knows nothing of them: unknown"),
        ([GOOD, BAD, UNKNOWN], 1, "bad 2 has CVE-1, fixed in 3"),
        (None, 0, "NOT DONE, no package was audited"),
    ],
)
def test_only_a_known_vulnerability_fails_and_what_was_not_audited_is_said(
    tmp_path: Path, packages: list[object] | None, code: int, said: str
) -> None:
    answer = "" if packages is None else json.dumps({"dependencies": packages})
    command = tmp_path / "pip-audit"
    command.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\nexit 1\n")
    command.chmod(0o755)
    done = subprocess.run(
        [ROOT / "scripts/audit"], env={"PIP_AUDIT": str(command)}, capture_output=True, text=True
    )
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize(
    "answer, line",
    [
        ("", "audit: NOT DONE, no package was audited (no network?)"),
        (json.dumps({"dependencies": [UNKNOWN]}), "audit: NOT DONE, no package was audited: 0 of 1 packages"),
        (json.dumps({"dependencies": [GOOD, UNKNOWN]}), "audit: IN PART, 1 of 2 packages audited"),
        (json.dumps({"dependencies": [GOOD]}), ""),
    ],
)
def test_the_summary_of_the_checks_has_one_line_where_something_was_not_audited(
    tmp_path: Path, answer: str, line: str
) -> None:
    command = tmp_path / "pip-audit"
    command.write_text(f"#!/bin/sh\necho '{answer}'\nexit 1\n")
    command.chmod(0o755)
    summary = tmp_path / "summary"
    summary.touch()
    environment = {"PIP_AUDIT": str(command), "AUDIT_SUMMARY": str(summary)}
    subprocess.run([ROOT / "scripts/audit"], env=environment, check=True, capture_output=True)
    written = summary.read_text().splitlines()
    assert len(written) == bool(line)
    assert "".join(written).startswith(line)
    assert 'echo "$unaudited"' in (ROOT / "scripts/check").read_text()

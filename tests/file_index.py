"""The file index, docs/files.md: a table of the first sentences of all module docstrings. `--write` makes it anew."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "files.md"
HEAD = """# Files

Made from module docstrings by `python -m tests.file_index --write`; a test compares. The story is in
[architecture.md](architecture.md).
"""


def made() -> str:
    """Return the page as it must be."""
    lines = [HEAD]
    folders = {
        path.parent.relative_to(ROOT)
        for room in ("handlers", "ingest")
        for path in (ROOT / room).rglob("*.py")
    }
    for folder in sorted(folders):
        rows = [f"| `{path.name}` | {_subject(path)} |" for path in sorted((ROOT / folder).glob("*.py"))]
        lines += [f"## {folder}/", "", "| file | |", "|---|---|", *rows, ""]
    return "\n".join(lines)


def _subject(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return text.partition("\n")[0].replace("|", "\\|")


if __name__ == "__main__":
    if "--write" in sys.argv:
        PAGE.write_text(made())
    elif PAGE.read_text() != made():
        sys.exit("docs/files.md is not what the docstrings say: python -m tests.file_index --write")

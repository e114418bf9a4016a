"""Options that several commands share."""

from typing import Annotated

import typer

DatabaseUrl = Annotated[str | None, typer.Option("--database-url", help="Instead of ROLLCALL_DATABASE_URL.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100_000, help="Rows at most.")]
Organization = Annotated[str | None, typer.Option("--organization", help="The organization's slug.")]
Integration = Annotated[str | None, typer.Option("--integration", help="An integration's name or id.")]

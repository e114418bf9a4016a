"""`python -m ingest.cli`: the same as `rollcall`."""

from ingest.cli import main

main()

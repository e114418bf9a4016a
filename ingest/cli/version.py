"""`rollcall version`: print the version."""

import ingest


def version() -> None:
    """Print the version."""
    print(ingest.__version__)

"""(a) Rollcall itself, with its defaults. PUBACK after the commit; nothing acknowledged is lost."""

import os
import sys


def main() -> None:
    """Be `rollcall run`. BENCH_PROFILE names a file for cProfile's result."""
    from ingest.cli import main as rollcall

    sys.argv = ["rollcall", "run"]
    profile_to = os.environ.get("BENCH_PROFILE")
    if profile_to is None:
        rollcall()
        return
    import cProfile

    profile = cProfile.Profile()
    try:
        profile.runcall(rollcall)
    finally:
        profile.dump_stats(profile_to)


if __name__ == "__main__":
    main()

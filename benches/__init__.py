"""Benchmarks: the same backlog, drained by Rollcall and by three others. `python -m benches`."""

import os

# servers are on loopback, rows are written as a platform writes them, and fleets are large; child processes inherit it
os.environ.setdefault("ROLLCALL_PRIVATE_NETWORKS", "127.0.0.0/8,::1/128")
for _ceiling in ("MAX_CREATED_PER_MINUTE", "MAX_CREATED", "MAX_PARKED"):
    os.environ.setdefault(f"ROLLCALL_{_ceiling}", "10000000")

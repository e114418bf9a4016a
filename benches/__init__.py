"""Benchmarks: the same backlog, drained by Rollcall and by three others. `python -m benches`."""

"""One file a contender; each runs as a process of its own until SIGTERM."""

"""Rollcall on a fleet that it has never heard: each device is bound, and its clocks and its first event are written."""

from benches.contenders.rollcall import main

if __name__ == "__main__":
    main()

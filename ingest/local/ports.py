"""Ports of 127.0.0.1 that nobody listens on."""

import socket

TRIES = 20


def free_port(usual: int) -> int:
    """Return `usual` or the next port that is free, or any free one when all of those are taken."""
    for port in [*range(usual, usual + TRIES), 0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise OSError("no port of 127.0.0.1 is free")

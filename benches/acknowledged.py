"""Wait until the broker has read every acknowledgement: a backlog that is written but not acknowledged comes again.

Source: proc_net_tcp(5): each socket with its addresses and queues, in hexadecimal.
"""

import time
from pathlib import Path

import psutil

SOCKETS = Path("/proc/net/tcp")
POLL_S = 0.005


def await_read(process: psutil.Process, port: int, within_s: float = 60.0) -> None:
    """Return when nothing is on its way from the process to the broker, seen twice in a row.

    Raises: RuntimeError.
    """
    ours = {one.laddr.port for one in process.net_connections("tcp") if one.raddr and one.raddr.port == port}
    end, quiet = time.monotonic() + within_s, 0
    while quiet < 2:
        if time.monotonic() > end:
            raise RuntimeError("the broker does not read the acknowledgements")
        quiet = 0 if on_the_way(ours, port) else quiet + 1
        time.sleep(POLL_S)


def on_the_way(ours: set[int], port: int) -> int:
    """Return the bytes that these local ports have sent to `port` and that are not read yet."""
    waiting = 0
    for line in SOCKETS.read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        local_port, remote_port = (int(one.rpartition(":")[2], 16) for one in (local, remote))
        to_send, to_read = (int(one, 16) for one in queues.split(":"))
        if local_port in ours and remote_port == port:
            waiting += to_send
        elif local_port == port and remote_port in ours:
            waiting += to_read
    return waiting

"""What a JetStream source is told of its cluster, beside what every broker has."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the cluster is and how it is read. Times in seconds."""

    servers: tuple[str, ...]
    """host:port of one server or several; the others are found through it."""
    creds_file: str | None = None
    nkey_file: str | None = None
    ack_wait_s: float = 30.0
    """What a replica has not acknowledged after this goes to another."""
    qos_0: bool = True
    """Whether publishes at QoS 0 are heard, too."""
    max_ahead_s: float = 300.0
    """A server's stamp that is later than our clock by more than this is not taken for the time of receipt."""

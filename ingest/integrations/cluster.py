"""The NATS cluster of a JetStream source: its settings beside those that every broker has."""

from dataclasses import dataclass, field
from importlib.util import find_spec

from ingest.errors import Misconfigured
from ingest.integrations.settings import MqttSettings

PORT = 4222
"""Where NATS clients connect, unless the settings say otherwise."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the cluster is and how it is read. Times in seconds."""

    servers: tuple[str, ...]
    """host:port of one server or several; the others are found through it."""
    creds_file: str | None = None
    nkey_file: str | None = None
    """Files; or the texts themselves as `creds` and `nkey`."""
    ack_wait_s: float = 30.0
    """What a replica has not acknowledged after this goes to another."""
    qos_0: bool = True
    """Whether publishes at QoS 0 are heard, too."""
    max_ahead_s: float = 300.0
    """A server's stamp that is later than our clock by more than this is not taken for the time of receipt."""
    creds: str | None = field(default=None, repr=False)
    nkey: str | None = field(default=None, repr=False)


def cluster_of(
    integration: str,
    wanted: MqttSettings,
    max_ahead_s: float,
    creds: str | None = None,
    nkey: str | None = None,
) -> Cluster:
    """Return what an integration's settings say of its cluster; `creds` and `nkey` are decrypted.

    Raises: Misconfigured where a package is missing, saying how to install it.
    """
    nats = wanted.nats
    if find_spec("nats") is None:
        told = "protocol jetstream needs the extra `nats`: pip install 'rollcall[nats]'"
        raise Misconfigured(f"integration {integration!r}: {told}")
    if (nats.creds_file or nats.nkey_file or creds or nkey) and find_spec("nkeys") is None:
        told = "creds_file and nkey_file need the package nkeys: pip install nkeys"
        raise Misconfigured(f"integration {integration!r}: {told}")
    servers = nats.servers or (f"{wanted.host}:{PORT}",)
    return Cluster(
        servers, nats.creds_file, nats.nkey_file, nats.ack_wait_s, nats.qos_0, max_ahead_s, creds, nkey
    )

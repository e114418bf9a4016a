"""A database URL as libpq takes it, made into what the driver takes; no error repeats a part that may be its password.

Source: PostgreSQL 18, 32.1.2: parameter key words.
"""

from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit

from ingest.errors import Misconfigured

EXPECTED = (
    "the database URL cannot be read: expected postgresql://user:password@host:port/database with special "
    "characters of the password as %XX"
)
DRIVER = frozenset((
    "host", "port", "user", "password", "dbname", "database", "passfile", "service", "sslmode", "sslcert",
    "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation", "ssl_min_protocol_version",
    "ssl_max_protocol_version", "target_session_attrs", "krbsrvname", "gsslib", "application_name", "options",
))  # fmt: skip
"""Honoured: the last two are the server's own."""
DROPPED = frozenset((
    "channel_binding", "client_encoding", "fallback_application_name", "gssdelegation", "gssencmode",
    "hostaddr", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval",
    "load_balance_hosts", "max_protocol_version", "min_protocol_version", "oauth_client_id",
    "oauth_client_secret", "oauth_issuer", "oauth_scope", "replication", "require_auth", "requirepeer",
    "requiressl", "scram_client_key", "scram_server_key", "servicefile", "sslcertmode", "sslcompression",
    "sslcrldir", "sslkeylogfile", "sslsni", "tcp_user_timeout",
))  # fmt: skip
"""libpq's, which the driver has not."""


class Connectable(NamedTuple):
    """A URL for the driver, and the seconds to wait for a connection where the URL gives them."""

    url: str
    connect_timeout_s: float | None

    def timeout_s(self, usual: float) -> float:
        """Return the seconds to wait for a connection."""
        return self.connect_timeout_s or usual


def connectable(url: str) -> Connectable:
    """Return a URL with the parameters that the driver knows.

    Raises: Misconfigured, naming an unknown parameter; never what the URL holds.
    """
    try:
        parts = urlsplit(url)
        asked = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True) if parts.query else []
        _check_ports(parts.netloc.rpartition("@")[2])
    except ValueError:
        raise Misconfigured(EXPECTED) from None
    # what stands behind an @ after the authority was meant as a host: the password holds a /, a # or a ?
    is_cut = parts.fragment or "#" in url or "@" in parts.path + parts.query
    login, at, hosts = parts.netloc.rpartition("@")
    is_odd = (
        parts.scheme not in ("postgresql", "postgres") or "://" not in url or "[" in login or "]" in login
    )
    if is_odd or is_cut:
        raise Misconfigured(EXPECTED)
    for name, _ in asked:
        if name not in DRIVER | DROPPED | {"connect_timeout"}:
            raise Misconfigured(f"the database URL has the parameter {name!r}, which libpq does not know")
    kept = urlencode([(name, value) for name, value in asked if name in DRIVER])
    address = f"{parts.scheme}://{login.replace('@', '%40')}{at}{hosts}{parts.path}"
    timeout = _seconds(dict(asked).get("connect_timeout"))
    return Connectable(f"{address}?{kept}" if kept else address, timeout)


def _check_ports(hosts: str) -> None:
    """Raise ValueError where a port is none: it may be the beginning of a password."""
    for host in hosts.split(","):
        _, colon, port = host.rpartition("]")[2].rpartition(":")
        if colon and port and not (port.isascii() and port.isdigit() and int(port) <= 65_535):
            raise ValueError


def _seconds(given: str | None) -> float | None:
    """Return `connect_timeout`; zero, a negative one and none mean the usual."""
    if given is None:
        return None
    try:
        seconds = int(given)
    except ValueError:
        raise Misconfigured("the database URL's connect_timeout is not a whole number of seconds") from None
    return max(2.0, float(seconds)) if seconds > 0 else None

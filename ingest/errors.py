"""Every exception that Rollcall raises on purpose, grouped by what the catcher does about it.

RollcallError
├── Misconfigured          a person must change something; the message says what was wrong, where, and what to do
│   ├── MigrationRefused   the database is not as the migrations left it
│   ├── SecretUnreadable   a stored secret cannot be decrypted with the keys at hand
│   ├── AddressRefused     an integration names an address that it may not connect to
│   └── ProviderRefused    the provider does not accept our key, or gives it too few rights
├── Unavailable            wait and try again with jitter, without end; nothing is acknowledged meanwhile
│   ├── DatabaseAway
│   │   └── Unattributed   a statement failed by the fault of a row or of the database: found out by trying
│   ├── RunUnderWay        another process reconciles this integration now
│   ├── BrokerAway
│   │   ├── BrokerRefused     the broker answered no (wrong password, banned): retried slowly
│   │   ├── SessionTakenOver  another connection uses our client id: stop, do not fight
│   │   ├── NoConnack         it closed the connection instead of answering CONNECT
│   │   └── ProtocolBroken    the peer sent something that cannot be parsed
│   └── ProviderAway
│       └── ProviderThrottled   we asked too often: not before retry_after_s
├── Declined               what was asked of a provider cannot be done: tell the one who asked, do not repeat it
│   ├── NotFound           it knows no such device, artifact or deployment
│   └── NotSupported       this kind of provider cannot do it at all
├── Unauthorized           a request did not prove itself: answer 401, nothing of it is kept
├── SessionsLost           other processes read these MQTT sessions now: leave what is in hand of them to those
├── EventsKnown            other processes have committed these webhook events meanwhile: answer them, do not apply them
└── Refused                the data itself was refused by the database (SQLSTATE 22, 23): dead-letter it
"""

from uuid import UUID


class RollcallError(Exception):
    """The root: `except RollcallError` catches what Rollcall raises and nothing else."""


class Misconfigured(RollcallError):  # noqa: N818 - named for the state, as the catcher reads it
    """A person must change something."""


class MigrationRefused(Misconfigured):
    """The database is not as the migrations left it."""


class SecretUnreadable(Misconfigured):
    """A stored secret cannot be decrypted with the keys at hand."""


class ProviderRefused(Misconfigured):
    """The provider answered 401 or 403: the key is wrong, expired, or may not do this."""


class AddressRefused(Misconfigured):
    """A host whose addresses are all out of bounds for a row that the operator did not make.

    The address itself is left out: who may not reach a network learns nothing of its names.
    """

    def __init__(self, host: str) -> None:
        super().__init__(
            f"{host}: this address may not be connected to: it is this machine's, link-local or private,"
            " and ROLLCALL_PRIVATE_NETWORKS does not list it"
        )


class Unavailable(RollcallError):  # noqa: N818
    """Something we depend on is away: wait and try again."""


class DatabaseAway(Unavailable):
    """The database cannot be written now."""


class Unattributed(DatabaseAway):
    """A statement failed that would perhaps succeed without one of its rows. `sqlstate` is Postgres' code for it."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(f"{sqlstate}: {message}")
        self.sqlstate = sqlstate


class RunUnderWay(Unavailable):
    """Another process reconciles this integration now: one at a time."""


class BrokerAway(Unavailable):
    """The broker cannot be reached, or the connection ended. The message is the reason.

    `code` is the broker's own reason code in MQTT 5 numbering, where it gave one.
    """

    def __init__(self, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.code = code


class BrokerRefused(BrokerAway):
    """The broker answered no to CONNECT (or to the PUBLISH named by `what`), with a reason code."""

    code: int

    def __init__(self, code: int, reason: str, what: str = "the connection") -> None:
        super().__init__(f"the broker refused {what}: {reason} (0x{code:02x})", code)
        self.reason = reason

    @property
    def passes(self) -> bool:
        """Whether it says how the broker is now (unavailable, busy, over a quota or a rate), and no person need act."""
        return self.code in _PASSING


_PASSING = frozenset({0x88, 0x89, 0x97, 0x9F})


class ProtocolBroken(BrokerAway):
    """The peer sent something that cannot be parsed: 'malformed packet, connection closed'."""


class SessionTakenOver(BrokerAway):
    """The broker closed this connection because another one uses the client id (DISCONNECT 0x8E)."""


class NoConnack(BrokerAway):
    """The broker closed the connection without a CONNACK, as some do that do not speak our version of MQTT."""


class Unauthorized(RollcallError):  # noqa: N818
    """A request did not prove itself. The message is the reason, without the secret and without what was given."""


class SessionsLost(RollcallError):  # noqa: N818
    """Nothing was committed: some sessions were taken up anew. `lost`: the former ones, as (session id, epoch)."""

    def __init__(self, lost: frozenset[tuple[int, int]]) -> None:
        super().__init__(f"{len(lost)} MQTT sessions are read by another process now")
        self.lost = lost


class EventsKnown(RollcallError):  # noqa: N818
    """Nothing was committed: another process has committed some of the webhook events. `known`: (integration, id)."""

    def __init__(self, known: frozenset[tuple[UUID, str]]) -> None:
        super().__init__(f"{len(known)} webhook events were committed by another process meanwhile")
        self.known = known


class Refused(RollcallError):  # noqa: N818
    """The database refused the data itself. `sqlstate` is of class 22 or 23."""

    def __init__(self, sqlstate: str, message: str) -> None:
        super().__init__(f"{sqlstate}: {message}")
        self.sqlstate = sqlstate


class ProviderAway(Unavailable):
    """The provider gave no whole, usable answer. `retry_after_s` is set where it said when to come back."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ProviderThrottled(ProviderAway):
    """The provider answers too many requests. `retry_after_s` is at least how long to leave it alone."""

    retry_after_s: float

    def __init__(self, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(message, retry_after_s)


class Declined(RollcallError):  # noqa: N818
    """A provider cannot do what was asked; asking again would change nothing. `code` is its own word for why."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class NotFound(Declined):
    """The provider knows no such device, artifact or deployment."""


class NotSupported(Declined):
    """This kind of provider cannot do it at all; its capabilities say so beforehand."""

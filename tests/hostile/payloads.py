"""Payloads that nobody sends by mistake: a grammar that breaks its own rules, and samples with changed bytes."""

import random
from collections.abc import Callable, Sequence

import cbor2
import orjson

from handlers.keys import KNOWN

MAX_BYTES = 100_000
ATOMS = [
    "null",
    "true",
    "false",
    "NaN",
    "Infinity",
    "-Infinity",
    "-0",
    "0",
    "1",
    "100",
    "101",
    "-150",
    "-151",
    "1e308",
    "1e309",
    "-1e-400",
    "1E400",
    "00",
    "1.",
    ".5",
    "0x1f",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775809",
    "1767225600",
    "1767225600000",
    "1767225600000000",
    "253402300800",
    "99999999999999999999",
]
TEXTS = (
    "", " ", "online", "OFFLINE", "1", "87%", "-71 dBm", "1.4.2", "v1.2.3-rc.1", "2026-01-01T00:00:00Z",
    "0000-00-00", "9999-12-31T23:59:59.999999+99:99", "\\u0000", "\\ud800", "\\udfff\\ud800", "\\uffff", "\0",
    "\x1b[31m", "%n%s", "${jndi:x}", "__proto__", "'; --", "x" * 300, "é" * 300, "9" * 5_000, "1e" + "9" * 60, "-" * 64,
)  # fmt: skip
HEADERS = (
    "application/json", "application/cbor", "text/plain", "text/plain; charset=utf-16", "", "image/png",
    "\0", "x" * 9_000,
    "application/cloudevents+json", "application/octet-stream", "io.golioth.data.v1/.s/battery",
)  # fmt: skip


class Fuzzer:
    """Makes payloads; the same seed makes the same ones."""

    def __init__(self, seed: int, samples: Sequence[bytes], keys: Sequence[str] = ()) -> None:
        self.chance = random.Random(seed)
        self._samples = samples
        self._room = 0
        """Values that the grammar may still write into this payload."""
        self._keys = [*KNOWN, *keys, "x"]

    def payload(self) -> bytes:
        """Return the next one."""
        kinds: tuple[Callable[[], bytes], ...] = (
            self._grammar, self._grammar, self._mutated, self._mutated, self._spliced, self._cbor,
        )  # fmt: skip
        return self.chance.choice(kinds)()

    def headers(self) -> dict[str, str]:
        """Return headers of which half lie."""
        names = ("content-type", "ce-id", "ce-source", "ce-type", "ce-time", "ce-subject", "webhook-id")
        wanted = self.chance.sample(names, self.chance.randrange(len(names)))
        return {name: self.chance.choice((*HEADERS, *TEXTS)) for name in wanted}

    def _grammar(self) -> bytes:
        self._room = 200
        return self._value(self.chance.choice((1, 2, 3, 5))).encode("utf-8", "surrogatepass")[:MAX_BYTES]

    def _value(self, depth: int) -> str:
        roll = self.chance.random()
        self._room -= 1
        depth = depth if self._room > 0 else 0
        if depth and roll < 0.5:
            fields = [f"{self._text(keys=True)}:{self._value(depth - 1)}" for _ in range(self._count())]
            return "{" + ",".join(fields) + self.chance.choice(("}", "}", "}", "}", "}", "}", ",}", "]", ""))
        if depth and roll < 0.65:
            return "[" + ",".join(self._value(depth - 1) for _ in range(self._count())) + "]"
        if roll < 0.67:
            deep = self.chance.choice((60, 1_000, 1_030, 5_000))
            return "[" * deep + "1" + "]" * deep
        if roll < 0.68:
            return "1" * self.chance.choice((20, 400, 100_000))
        return self.chance.choice(ATOMS) if roll < 0.85 else self._text()

    def _count(self) -> int:
        return self.chance.choice((0, 1, 1, 2, 3, 5, 8, 70))

    def _text(self, *, keys: bool = False) -> str:
        words = self._keys if keys and self.chance.random() < 0.8 else TEXTS
        return f'"{self.chance.choice(words)}"'

    def _mutated(self) -> bytes:
        body = bytearray(self.chance.choice(self._samples))
        for _ in range(self.chance.choice((1, 1, 2, 4, 16))):
            place = self.chance.randrange(len(body) + 1)
            end = place + self.chance.choice((0, 0, 1, 1, 2, 9))
            body[place:end] = self.chance.randbytes(self.chance.choice((0, 1, 1, 2, 4)))
        return bytes(body)

    def _spliced(self) -> bytes:
        left, right = self.chance.choice(self._samples), self.chance.choice(self._samples)
        return left[: self.chance.randrange(len(left) + 1)] + right[self.chance.randrange(len(right) + 1) :]

    def _cbor(self) -> bytes:
        try:
            body = bytearray(cbor2.dumps(orjson.loads(self.chance.choice(self._samples))))
        except (orjson.JSONDecodeError, cbor2.CBOREncodeError):
            body = bytearray(b"\xa0")
        for _ in range(self.chance.choice((0, 1, 2, 6))):
            body[self.chance.randrange(len(body))] = self.chance.randrange(256)
        return bytes(body)

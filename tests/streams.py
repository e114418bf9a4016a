"""Connection events as AWS and Azure can send them: what truly happened, as it is told."""

from hypothesis import strategies as st

from handlers.events import SECOND, DeviceKey, Micros, Observation, Presence
from handlers.sequences import Transition, aws_sequence, azure_sequence
from tests.strategies import INTEGRATION, START

MINUTE = 60 * SECOND
JITTER = 120 * SECOND
"""AWS: a time is good to two minutes."""
RESTART = 60 * MINUTE
"""AWS: the number starts again after an hour offline."""
ONLINE, OFFLINE = Presence.ONLINE, Presence.OFFLINE

gaps = st.sampled_from([0, 1, SECOND, MINUTE, 4 * MINUTE, 20 * MINUTE]) | st.integers(0, 50 * MINUTE)
lateness = st.sampled_from([0, SECOND, MINUTE]) | st.integers(0, MINUTE)
jitters = st.sampled_from([-JITTER, 0, JITTER]) | st.integers(-JITTER, JITTER)

History = list[tuple[Presence, Micros, int]]
"""What truly happened, in the order that counts: presence, true time, the number of the connection."""


@st.composite
def histories(draw: st.DrawFn) -> History:
    """Sessions of one client id: each ends before the next begins, or is taken over and told a little late."""
    events: History = []
    now, number = START, 0
    for _ in range(draw(st.integers(1, 6))):
        events.append((ONLINE, now, number))
        while draw(st.booleans()) and len(events) < 20:
            now += draw(gaps)
            events += [(OFFLINE, now + draw(lateness), number), (ONLINE, now, number + 1)]
            number += 1
        now += draw(gaps)
        events.append((OFFLINE, now, number))
        number += 1
        restarts = draw(st.booleans())
        now += RESTART + draw(gaps) if restarts else draw(gaps)
        number = 0 if restarts else number
    return events[:-1] if draw(st.booleans()) else events


@st.composite
def aws_streams(draw: st.DrawFn) -> list[Transition]:
    """A history as AWS tells it, in the order that counts."""
    told = []
    for seen, at, number in draw(histories()):
        sequence = aws_sequence(number, seen)
        assert sequence
        told.append(Transition(seen, at + draw(jitters), sequence))
    return told


@st.composite
def azure_streams(draw: st.DrawFn) -> list[Transition]:
    """A history as Event Grid tells it: the number grows with each event, in the letters of any case."""
    told = []
    for place, (seen, at, _) in enumerate(draw(histories())):
        digits = f"{(1 << 100) + place * 7:x}"
        sequence = azure_sequence(digits.upper() if draw(st.booleans()) else digits)
        assert sequence
        told.append(Transition(seen, at + draw(jitters), sequence))
    return told


streams = aws_streams() | azure_streams()


@st.composite
def of_streams(draw: st.DrawFn) -> list[Observation]:
    """The observations of a stream."""
    return [
        Observation(INTEGRATION, DeviceKey("d"), at, at, at, "webhook", sequence, presence)
        for presence, at, sequence in draw(streams)
    ]

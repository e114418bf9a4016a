"""Hypothesis strategies: observations of a device over a few hours, with ties, lies and late arrivals."""

from uuid import UUID

from hypothesis import strategies as st

from handlers.events import SECOND, DeviceKey, Micros, Observation, Presence, Reading

INTEGRATION = UUID(int=1)
START: Micros = 1_790_000_000 * SECOND
OFFLINE_AFTER: Micros = 900 * SECOND

times = st.one_of(
    st.integers(0, 40).map(lambda n: START + n * 300 * SECOND),
    st.integers(0, 12_000).map(lambda n: START + n * SECOND),
    st.integers(0, 5).map(lambda n: START + n * 86_400 * SECOND),
)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    """One observation of the device `d`: any mixture of what an event can say."""
    seen_at = draw(times)
    presence = draw(st.sampled_from([Presence.ONLINE, Presence.ONLINE, Presence.OFFLINE, None]))
    snapshot = presence is not None and draw(st.integers(0, 5)) == 0
    says = not snapshot
    return Observation(
        INTEGRATION,
        DeviceKey("d"),
        draw(st.one_of(st.just(seen_at), times)),
        seen_at,
        seen_at,
        presence=presence,
        snapshot=snapshot,
        battery_level=draw(st.one_of(st.none(), st.integers(0, 3))) if says else None,
        signal_strength=draw(st.one_of(st.none(), st.integers(-3, 0))) if says else None,
        firmware=tuple(
            draw(
                st.lists(
                    st.tuples(st.sampled_from(["main", "modem"]), st.sampled_from(["v1", "v2", "V2", "é"])),
                    max_size=2,
                )
            )
        )
        if says
        else (),
        readings=(Reading("t", draw(st.sampled_from([1.0, 2.0])), "C"),)
        if says and draw(st.booleans())
        else (),
    )


nothing_else: st.SearchStrategy[list[Observation]] = st.just([])


@st.composite
def arrivals(
    draw: st.DrawFn, also: st.SearchStrategy[list[Observation]] = nothing_else
) -> tuple[list[Observation], list[list[Observation]]]:
    """A set of observations, and an arrival of it: permuted, partly doubled, cut into batches."""
    seen = draw(st.lists(observations(), min_size=1, max_size=12)) + draw(also)
    arrival = draw(st.permutations(seen + draw(st.lists(st.sampled_from(seen), max_size=3))))
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(arrival) - 1)), max_size=4)))
    batches = [arrival[a:b] for a, b in zip([0, *cuts], [*cuts, len(arrival)], strict=True) if arrival[a:b]]
    return seen, batches

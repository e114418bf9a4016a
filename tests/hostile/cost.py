"""How long hostile input may keep us busy."""

import time
from collections.abc import Callable
from typing import TypeVar

SLOWEST_S = 0.5
"""A payload of at most 100 kB takes less than a millisecond; a machine that is busy with other things takes longer."""
TRIES = 3

Result = TypeVar("Result")


def in_a_moment(call: Callable[[], Result]) -> Result:
    """Return what the call gives, and assert that it does not keep this thread busy.

    Counted is the processor's time of this thread, not what others of this machine use; and a bomb is slow each time,
    a collection of garbage only once.
    """
    took = []
    for _ in range(TRIES):
        began = time.thread_time()
        result = call()
        took.append(time.thread_time() - began)
        if took[-1] < SLOWEST_S:
            return result
    raise AssertionError(f"busy for {min(took):.2f} s each time")

"""Back-off before the next attempt: exponential, with full jitter and without end."""

import random

CAP_S = 5.0
"""Back 1.7 s after the other side in the mean, and 5 s at most; with 30 s it was 10 and 30 (an outage of 20 s)."""


class Backoff:
    """Seconds to wait: uniform between 0 and min(cap, base * 2**attempt).

    Source: 'Exponential Backoff And Jitter', AWS Architecture Blog.
    """

    REFUSED_CAP_S = 300.0
    """For a broker that answered no: a person has to change something, so it is asked rarely."""

    def __init__(self, random: random.Random, base_s: float = 0.5, cap_s: float = CAP_S) -> None:
        self._random = random
        self._base_s = base_s
        self._cap_s = cap_s
        self._attempts = {True: 0, False: 0}

    def next(self, *, refused: bool = False) -> float:
        """Return the next wait in seconds. `refused`: the broker answered no; counted by itself, the cap is 300 s."""
        cap = self.REFUSED_CAP_S if refused else self._cap_s
        # 2**32 is past every cap: the attempts are counted no further.
        ceiling = min(cap, self._base_s * 2.0 ** self._attempts[refused])
        self._attempts[refused] = min(self._attempts[refused] + 1, 32)
        return self._random.uniform(0, ceiling)

    def reset(self) -> None:
        """Begin again at the base, after a success."""
        self._attempts = {True: 0, False: 0}

"""What a row of the benchmarks consists of, and how its figures are summarized."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Line:
    """One measured quantity, with the peer it is compared with and its goal, if it has them.

    `at_most` limits the median. With `is_ratio` it limits the ratio of the median to the peer's.
    """

    what: str
    database: str = ""
    unit: str = "ms"
    median: float
    p95: float | None = None
    peer: str = ""
    peer_median: float | None = None
    at_most: float | None = None
    is_ratio: bool = False

    @property
    def ratio(self) -> float | None:
        """The median divided by the peer's median."""
        return self.median / self.peer_median if self.peer_median else None

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met. None without a goal."""
        value = self.ratio if self.is_ratio else self.median
        return None if self.at_most is None or value is None else value <= self.at_most


def line(
    what: str,
    samples: Sequence[float],
    *,
    peer: str = "",
    peer_samples: Sequence[float] = (),
    unit: str = "ms",
    database: str = "",
    at_most: float | None = None,
    at_most_ratio: float | None = None,
) -> Line:
    """A line with the medians of both sides."""
    return Line(
        what=what,
        database=database,
        unit=unit,
        median=statistics.median(samples),
        p95=percentile_95(samples) if len(samples) > 1 else None,
        peer=peer,
        peer_median=statistics.median(peer_samples) if peer_samples else None,
        at_most=at_most if at_most_ratio is None else at_most_ratio,
        is_ratio=at_most_ratio is not None,
    )


def percentile_95(samples: Sequence[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(samples, n=20, method="inclusive")[-1]


def milliseconds(work: Callable[[], object]) -> float:
    """How many milliseconds a call takes."""
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1000


def interleaved[Result](rounds: int, *works: Callable[[], Result]) -> list[list[Result]]:
    """The results of each call, made in turn so that other load affects all of them alike.

    Leaves out the first round, because it fills caches.
    """
    results: list[list[Result]] = [[] for _ in works]
    for number in range(rounds + 1):
        for work, collected in zip(works, results, strict=True):
            result = work()
            if number:
                collected.append(result)
    return results

"""What several benchmarks measure and print."""

import resource


def peak_memory_mb() -> float:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def print_line(line: str) -> None:
    """Print a line of a table at once."""
    print(line, flush=True)  # noqa: T201 - a benchmark's output

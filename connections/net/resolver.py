"""Name resolution with a timeout, which `getaddrinfo` itself lacks."""

import queue
import socket
import threading
from collections.abc import Callable

type Address = tuple[socket.AddressFamily, tuple[str, int] | tuple[str, int, int, int]]
type Lookup = Callable[[str, int], list[Address]]

# Limits the threads that wait for a name server that never responds.
_MAX_LOOKUPS_AT_ONCE = 32
_lookup_slots = threading.BoundedSemaphore(_MAX_LOOKUPS_AT_ONCE)


def look_up(host: str, port: int) -> list[Address]:
    """The addresses from `getaddrinfo`; blocks without a limit. Raises OSError or ValueError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]  # type: ignore[misc]


def resolve(
    *, host: str, port: int, timeout_seconds: float, lookup: Lookup = look_up
) -> list[Address]:
    """The addresses of `host`, within `timeout_seconds`.

    Raises OSError: the system's own when the name does not resolve, TimeoutError when it does
    not resolve in time or too many lookups are already waiting.
    """
    if not _lookup_slots.acquire(blocking=False):
        raise TimeoutError("Too many name lookups are hanging.")
    results: queue.SimpleQueue[list[Address] | OSError] = queue.SimpleQueue()
    worker = threading.Thread(
        target=_look_up_into,
        kwargs={"results": results, "host": host, "port": port, "lookup": lookup},
        name="datadog-resolver",
        daemon=True,
    )
    try:
        worker.start()
    except RuntimeError:
        _lookup_slots.release()
        raise
    try:
        result = results.get(timeout=max(timeout_seconds, 0))
    except queue.Empty:
        raise TimeoutError("The name did not resolve in time.") from None
    if isinstance(result, OSError):
        raise result
    return result


def _look_up_into(
    *,
    results: "queue.SimpleQueue[list[Address] | OSError]",
    host: str,
    port: int,
    lookup: Lookup,
) -> None:
    try:
        results.put(lookup(host, port))
    except OSError as error:
        results.put(error)
    except ValueError:
        # An empty or too long label fails during encoding, before any lookup.
        results.put(OSError("This is not a host name."))
    finally:
        _lookup_slots.release()

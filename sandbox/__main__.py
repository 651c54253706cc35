"""Serves the demo's world: `python -m sandbox [--port N] [--exit-with-parent [PID]]`."""

import argparse
import json
import os
import signal
import sys
import threading
from types import FrameType

from sandbox.demo_world import DEMO_FAULTS, demo_world
from sandbox.server import SandboxServer

_LOOK_EVERY = 0.5  # seconds between two looks at whether the parent still lives


def main() -> int:
    """Serve until SIGTERM or SIGINT; one JSON document on standard output says when ready."""
    options = _options()
    parent = options.exit_with_parent or os.getppid()
    ended = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    world = demo_world()
    ports = {}
    if options.port:
        ports = {site: options.port + number for number, site in enumerate(world.sites)}
    try:
        server = SandboxServer(world, ports=ports).start()
    except OSError as error:
        print(f"sandbox: cannot listen: {os.strerror(error.errno or 0)}", file=sys.stderr)
        return 1
    _announce(server=server)
    while not ended.wait(None if options.exit_with_parent is None else _LOOK_EVERY):
        if os.getppid() != parent:
            break
    server.stop()
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="A local Datadog.")
    parser.add_argument(
        "--port", type=int, default=0, help="port of the first site; the others follow it"
    )
    parser.add_argument(
        "--exit-with-parent",
        type=int,
        nargs="?",
        const=0,
        metavar="PID",
        help="end when the starting process ends; with its id also if that was before we began",
    )
    return parser.parse_args()


def _announce(*, server: SandboxServer) -> None:
    for site, url in server.base_urls.items():
        print(f"sandbox: {site} answers at {url}", file=sys.stderr, flush=True)
    document = {
        "sites": server.base_urls,
        "extra_sites": server.extra_sites_setting(),
        "faults": {one: sentence for one, (_, sentence) in DEMO_FAULTS.items()},
    }
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    sys.exit(main())

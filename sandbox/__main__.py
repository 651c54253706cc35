"""Runs the Datadog simulator with the demo's orgs: `python -m sandbox`."""

import argparse
import csv
import json
import os
import signal
import sys
import threading
from types import FrameType

from sandbox.demo_world import DEMO_FAULTS, demo_key_pairs, demo_world
from sandbox.server import SandboxServer

_CHECK_INTERVAL = 0.5  # seconds between two checks that the parent process still runs


def main() -> int:
    """Serve until SIGTERM or SIGINT. When ready, print one JSON document to standard output."""
    options = _parse_arguments()
    if options.keys:
        _print_keys()
        return 0
    parent = options.exit_with_parent or os.getppid()
    stop_requested = threading.Event()

    def request_stop(number: int, frame: FrameType | None) -> None:
        stop_requested.set()

    signal.signal(signal.SIGTERM, request_stop)
    signal.signal(signal.SIGINT, request_stop)
    world = demo_world()
    ports = {}
    if options.port:
        ports = {site: options.port + number for number, site in enumerate(world.sites)}
    try:
        server = SandboxServer(world, ports=ports).start()
    except OSError as error:
        print(f"sandbox: cannot listen: {os.strerror(error.errno or 0)}", file=sys.stderr)
        return 1
    _print_addresses(server)
    while not stop_requested.wait(None if options.exit_with_parent is None else _CHECK_INTERVAL):
        if os.getppid() != parent:
            break
    server.stop()
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m sandbox", description="Datadog simulator")
    parser.add_argument(
        "--port",
        type=int,
        default=0,
        help="port of the first site; the other sites use the next ports",
    )
    parser.add_argument(
        "--exit-with-parent",
        type=int,
        nargs="?",
        const=0,
        metavar="PID",
        help="exit when the parent process ends; its PID makes that work if it has ended already",
    )
    parser.add_argument(
        "--keys", action="store_true", help="print the key pairs of all orgs as CSV and exit"
    )
    return parser.parse_args()


def _print_keys() -> None:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["name", "site", "api_key", "application_key"])
    for pair in demo_key_pairs():
        table.writerow([pair.org.name, pair.org.site.name, pair.api_key, pair.application_key])


def _print_addresses(server: SandboxServer) -> None:
    for site, url in server.base_urls.items():
        print(f"sandbox: {site} listens at {url}", file=sys.stderr, flush=True)
    document = {
        "sites": server.base_urls,
        "extra_sites": server.extra_sites_setting(),
        "faults": {one: description for one, (_, description) in DEMO_FAULTS.items()},
    }
    print(json.dumps(document), flush=True)


if __name__ == "__main__":
    sys.exit(main())

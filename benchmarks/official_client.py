"""Deletes connections with the official Python client, from 8 threads, and records nothing.

It runs in its own environment, where the package `datadog-api-client` is installed, with Datadog's
address, a CA bundle and both keys as arguments. For each line of connection IDs on standard input,
it prints how many milliseconds the deletions took.
"""

import sys
import time
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from datadog_api_client import ApiClient, Configuration  # type: ignore[import-not-found]
from datadog_api_client.v2.api.org_connections_api import (  # type: ignore[import-not-found]
    OrgConnectionsApi,
)

THREADS = 8


def main() -> None:
    """Delete the connections of each line until the input ends."""
    url, bundle, api_key, application_key = sys.argv[1:]
    configuration = Configuration(host=url)
    configuration.api_key = {"apiKeyAuth": api_key, "appKeyAuth": application_key}
    configuration.ssl_ca_cert = bundle
    configuration.connection_pool_maxsize = THREADS
    for line in sys.stdin:
        ids = line.split()
        with (
            ApiClient(configuration) as client,
            ThreadPoolExecutor(max_workers=THREADS) as threads,
        ):
            api = OrgConnectionsApi(client)
            started = time.perf_counter()
            _check(api, threads)
            list(threads.map(api.delete_org_connections, map(UUID, ids)))
            _check(api, threads)
            elapsed = (time.perf_counter() - started) * 1000
        print(elapsed, flush=True)  # noqa: T201 - the benchmark reads it


def _check(api: OrgConnectionsApi, threads: ThreadPoolExecutor) -> None:
    """Send two parallel requests: the list, and another one to find out whose keys they are.

    The client has no method for the second, so it lists again.
    """
    lists = [threads.submit(api.list_org_connections) for _ in range(2)]
    for each in lists:
        each.result()


if __name__ == "__main__":
    main()

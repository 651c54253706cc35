"""What runs inside an installation, with Django set up: filling it, and counting what it does.

`Installation.run` starts it. Each program prints one JSON document.
"""

import gc
import json
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import requests
from django.conf import settings
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from benchmarks import data, world
from benchmarks.measuring import interleaved, milliseconds
from connections.access.actor import WORKER, command_actor, person_actor
from connections.batches import confirming, drafts, requesting, running
from connections.deletions import confirmations
from connections.deletions.history import HistoryFilter
from connections.evidence.bundles import make_bundle
from connections.evidence.comparison import compare_all
from connections.evidence.differing import DifferingRecords
from connections.evidence.program import build_program
from connections.evidence.records import kind_of
from connections.evidence.verification import verify_audit_log
from connections.inventory import syncs
from connections.models import Batch, Credential, Deletion, Person
from connections.net.http import PARALLEL_REQUESTS
from connections.operations import due
from connections.verifier.events import DELETION

API = "/api/v2/org_connections"
FORM = "application/x-www-form-urlencoded"


def session_of(person: Person) -> dict[str, str]:
    """The cookies of a browser in which the person has just signed in."""
    client = Client()
    client.force_login(person)
    return {name: morsel.value for name, morsel in client.cookies.items()}


def fill(deletions: str, changes: str) -> dict[str, Any]:
    """Store years of use. Return an administrator's cookies and what the addresses need."""
    data.fill(data.Size(deletions=int(deletions), changes=int(changes)))
    with connection.cursor() as cursor:
        # As autovacuum does within two minutes of a sync.
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
    return data.facts() | {"cookies": session_of(Person.objects.get(username="person0"))}


def refresh_syncs() -> dict[str, Any]:
    """Give the worker of a server started now nothing to sync."""
    data.refresh_syncs()
    return {}


def store_credentials(first: str, count: str) -> dict[str, Any]:
    """Store credentials of some orgs and an administrator, and sync.

    Return what a browser needs.
    """
    credentials = data.insert_credentials(range(int(first), int(first) + int(count)))
    person = Person.objects.create(username="ada", is_superuser=True)
    syncs.sync_credentials(credentials=credentials, actor=command_actor())
    return {"cookies": session_of(person), "credential": str(credentials[0].pk)}


# --- A confirmed deletion -----------------------------------------------------------------------


def delete(count: str) -> dict[str, Any]:
    """Delete connections, each through the review's POST and the worker's verification.

    Returns what each one costs: the time and processor time, the same for identical requests to
    Datadog made with bare `requests`, whose code used the processor, how long the smallest
    statement takes, and the statements and commits of one more deletion.
    """
    cookies = store_credentials(str(world.SOURCE), "1")
    client = Client(SERVER_NAME="localhost")
    client.cookies.load(cookies["cookies"])
    credential = Credential.objects.get()
    ids = world.deletable(int(count) + 2)
    peer_ids = world.deletable(int(count) + 1, source=world.PEER)
    post, verification, bare, cpu, bare_cpu = [], [], [], [], []
    samples = Counter[str]()
    with bare_session(world.PEER) as session:
        for number in range(int(count) + 1):
            form = _review_form(credential, ids.pop())
            started = time.process_time()
            with _sampled(samples):
                post.append(milliseconds(partial(_post, client, form)))
                verification.append(milliseconds(partial(due.run_due, actor=WORKER)))
            cpu.append((time.process_time() - started) * 1000)
            started = time.process_time()
            bare.append(milliseconds(partial(bare_deletion, session, peer_ids.pop())))
            bare_cpu.append((time.process_time() - started) * 1000)
            if not number:
                # The first one opens connections and fills caches.
                del post[:], verification[:], bare[:], cpu[:], bare_cpu[:]
                samples.clear()
    form = _review_form(credential, ids.pop())
    counted = []
    for work in (partial(_post, client, form), partial(due.run_due, actor=WORKER)):
        with CaptureQueriesContext(connection) as captured:
            work()
        counted.append([query["sql"] for query in captured.captured_queries])
    if Deletion.objects.filter(verified_at=None).exists():
        raise RuntimeError("A deletion was not verified.")
    return {
        "post": post,
        "verification": verification,
        "bare": bare,
        "cpu": cpu,
        "bare_cpu": bare_cpu,
        "samples": samples,
        "round_trip": [milliseconds(_run_smallest_statement) for _ in range(int(count))],
        "statements": [len(each) for each in counted],
        "commits": [sum(sql.startswith("COMMIT") for sql in each) for each in counted],
    }


# The first of these that a file's path contains says whose code it is.
OWNERS = {
    "/django/db/models/": "Django's ORM",
    "/django/db/": "the database, called by Django",
    "/django/": "the rest of Django, and its test client",
    "/requests/": "HTTP and TLS",
    "/urllib3/": "HTTP and TLS",
    "/connections/net/": "HTTP and TLS",
    "/connections/": "Org Admin's other code",
}


@contextmanager
def _sampled(samples: Counter[str]) -> Iterator[None]:
    """Count whose code the main thread runs, once per tick of processor time.

    A tick takes a few milliseconds, so this costs nothing, unlike a profiler of every call.
    """

    def count(_: int, frame: FrameType | None) -> None:
        samples[_owner_of(frame)] += 1

    signal.signal(signal.SIGPROF, count)
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _owner_of(frame: FrameType | None) -> str:
    """Whose code runs. Python's own library counts for the code that called it."""
    while frame:
        path = frame.f_code.co_filename
        owner = next((owner for part, owner in OWNERS.items() if part in path), None)
        if owner:
            return owner
        frame = frame.f_back
    return "others"


def _run_smallest_statement() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def _review_form(credential: Credential, connection_id: str) -> dict[str, str]:
    shown = confirmations.find_target(
        actor=command_actor(), credential=credential, connection_id=UUID(connection_id)
    )
    return {
        "credential": str(credential.pk),
        "connection_id": connection_id,
        "reason": "benchmark",
        "ticket": "",
        "request_id": str(uuid4()),
        "digest": shown.digest,
        "confirmation": shown.text_to_type,
    }


def _post(client: Client, form: dict[str, str]) -> None:
    # Encoded as browsers do; Django's client would send multipart.
    response = client.post("/deletions/new/", urlencode(form), content_type=FORM)
    if response.status_code != 303:
        raise RuntimeError(f"The POST returned {response.status_code}.")


def bare_session(org: int) -> requests.Session:
    """A plain `requests` session with an org's keys."""
    session = requests.Session()
    session.headers.update(key_headers(org))
    session.trust_env = False
    session.verify = settings.OUTBOUND_ROUTE.ca_bundle
    return session


def key_headers(org: int) -> dict[str, str]:
    """The headers with an org's keys."""
    api_key, application_key = world.keys_of(org)
    return {"DD-API-KEY": api_key, "DD-APPLICATION-KEY": application_key}


def base_url() -> str:
    """The address of the simulator."""
    return str(settings.EXTRA_SITES[world.SITE])


def bare_deletion(session: requests.Session, connection_id: str) -> None:
    """List, DELETE, list."""
    for method, path in (("GET", API), ("DELETE", f"{API}/{connection_id}"), ("GET", API)):
        session.request(method, base_url() + path, timeout=30).raise_for_status()


# --- A bulk deletion ----------------------------------------------------------------------------


def delete_in_bulk(rounds: str, count: str, python: str) -> dict[str, Any]:
    """Run bulk deletions as the worker does until each row is verified.

    Takes turns with the official client of the environment that has this `python`. Returns what
    each took, and Org Admin's processor time per row.
    """
    store_credentials(str(world.SOURCE), "1")
    person = Person.objects.get()
    ids, peer_ids = (
        world.deletable((int(rounds) + 1) * int(count), source=source)
        for source in (world.SOURCE, world.PEER)
    )
    own, cpu, peer = [], [], []
    with official_client(python) as delete_with_client:
        for _ in range(int(rounds) + 1):
            batch = _confirmed_batch(person, [ids.pop() for _ in range(int(count))])
            started = time.process_time()
            own.append(milliseconds(partial(_run_batch, batch)))
            cpu.append((time.process_time() - started) * 1000 / int(count))
            peer.append(delete_with_client([peer_ids.pop() for _ in range(int(count))]))
    # The first ones fill caches.
    return {"own": own[1:], "peer": peer[1:], "cpu": cpu[1:]}


def _confirmed_batch(person: Person, ids: list[str]) -> Batch:
    actor = person_actor(person=person)
    batch = drafts.create_draft_from_selection(
        actor=actor, connections=[f"{world.SITE}/{connection_id}" for connection_id in ids]
    )
    requesting.request_batch(
        batch=batch,
        actor=actor,
        reason="benchmark",
        ticket="",
        digest=batch.digest,
        confirmation=confirming.text_to_type(batch),
    )
    return batch


def _run_batch(batch: Batch) -> None:
    # Those that are closed but not verified are due.
    while Deletion.objects.filter(batch=batch, verified_at=None).exists():
        running.run_due(actor=WORKER)


@contextmanager
def official_client(python: str) -> Iterator[Callable[[list[str]], float]]:
    """A function that deletes with the official client and returns how long that took (ms)."""
    keys = world.keys_of(world.PEER)
    script = Path(__file__).with_name("official_client.py")
    command = [python, str(script), base_url(), str(settings.OUTBOUND_ROUTE.ca_bundle), *keys]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def delete(ids: list[str]) -> float:
            assert process.stdin  # noqa: S101 - both are pipes
            assert process.stdout  # noqa: S101
            process.stdin.write(" ".join(ids) + "\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        yield delete


# --- A sync -------------------------------------------------------------------------------------


def synchronize(rounds: str) -> dict[str, Any]:
    """Sync 50 orgs, in turn with as many threads that send the same requests by bare `requests`."""
    store_credentials(str(world.SYNCED[0]), str(len(world.SYNCED)))
    credentials = list(Credential.objects.all())
    actor = command_actor()

    def ours() -> float:
        started = time.process_time()
        elapsed = milliseconds(
            partial(syncs.sync_credentials, credentials=credentials, actor=actor)
        )
        cpu.append((time.process_time() - started) * 1000)
        return elapsed

    cpu: list[float] = []
    own, peer = interleaved(int(rounds), ours, partial(milliseconds, _list_all))
    return {"sync": own, "bare": peer, "cpu": cpu[1:], "threads": PARALLEL_REQUESTS}


def _list_all() -> None:
    """Send both requests of each org. Each thread keeps its connection."""
    kept = threading.local()
    sessions: list[requests.Session] = []

    def get(request: tuple[int, str]) -> None:
        org, path = request
        if not hasattr(kept, "session"):
            kept.session = bare_session(org)
            sessions.append(kept.session)
        url, headers = base_url() + path, key_headers(org)
        kept.session.get(url, headers=headers, timeout=30).raise_for_status()

    wanted = [(org, path) for org in world.SYNCED for path in (API, "/api/v2/current_user")]
    with ThreadPoolExecutor(max_workers=PARALLEL_REQUESTS) as threads:
        list(threads.map(get, wanted))
    for session in sessions:
        session.close()


# --- Verification and evidence ------------------------------------------------------------------


def verify_all(makes_bundle: str) -> dict[str, Any]:
    """Verify the audit log and compare every deletion with its events. Optionally make a bundle."""
    result: dict[str, Any] = {"deletions": Deletion.objects.count()}
    before = _peak_memory()
    result["verify"], report = _cpu(verify_audit_log)
    if report.fault:
        raise RuntimeError(report.message)
    kind = kind_of(DELETION)
    differing = DifferingRecords(noun=kind.noun)
    result["compare"], _ = _cpu(lambda: list(compare_all(kind, differing=differing)))
    result |= {"events": report.size, "memory": _peak_memory() - before}
    if makes_bundle == "yes":
        with tempfile.TemporaryDirectory() as directory:
            result |= _measure_bundle(Path(directory) / "bundle.zip")
    return result


def _measure_bundle(path: Path) -> dict[str, Any]:
    def make() -> Any:
        with path.open("wb") as file:
            return make_bundle(
                actor=command_actor(), filters=HistoryFilter(), query="", output=file
            )

    seconds, bundle = _cpu(make)
    program = path.with_name("verify.pyz")
    program.write_bytes(build_program())
    check = [sys.executable, "-I", str(program), str(path)]
    started = time.perf_counter()
    subprocess.run(check, check=True, stdout=subprocess.DEVNULL)
    verifying = time.perf_counter() - started
    return {"bundle": seconds, "bundle_size": bundle.size, "bundle_verify": verifying}


def _cpu[Result](work: Callable[[], Result]) -> tuple[float, Result]:
    """The processor time of a call in seconds, and its result."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def _peak_memory() -> float:
    """The peak memory of this process (MiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


PROGRAMS: dict[str, Callable[..., dict[str, Any]]] = {
    "fill": fill,
    "refresh_syncs": refresh_syncs,
    "credentials": store_credentials,
    "delete": delete,
    "bulk": delete_in_bulk,
    "sync": synchronize,
    "verify": verify_all,
}


def main() -> None:
    """Run the program that the first argument names."""
    # As in manage.py, so that a bulk deletion is measured as the worker runs it.
    gc.set_threshold(20_000, 10, 10)
    _, name, *arguments = sys.argv
    sys.stdout.write(json.dumps(PROGRAMS[name](*arguments)) + "\n")

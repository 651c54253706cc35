"""What is measured, row by row. Each function yields the lines of one table."""

import contextlib
import json
import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from benchmarks import addresses, world
from benchmarks.installation import (
    ROOT,
    Browser,
    Database,
    Installation,
    Server,
    Simulator,
    environment_with_official_client,
    install,
    run_simulator,
)
from benchmarks.measuring import Line, interleaved, line, milliseconds

API = "/api/v2/org_connections"
DELAY = 0.06
SYNC_DELAY = 0.1
FAR = 0.0025
BULK = 100
BULK_DELAY = 0.05
BULK_ROUNDS = 3
# The title in the timeline.
VERIFIED = b">Verified<"
# As many as in `Bench.filled`.
ORGS = 100


@dataclass(frozen=True, kw_only=True)
class Filled:
    """An installation with years of use."""

    installation: Installation
    facts: dict[str, Any]
    deletions: int


class Bench:
    """What the rows share: the databases, how much to measure, and the filled installations."""

    def __init__(
        self, stack: contextlib.ExitStack, *, url: str, is_quick: bool, deletions: int
    ) -> None:
        self._stack = stack
        self._filled: dict[tuple[str, int], Filled] = {}
        self._simulator: Simulator | None = None
        self.url = url
        self.databases = [Database(), Database(url=url)] if url else [Database()]
        self.deletions = deletions
        self.is_quick = is_quick

    def rounds(self, count: int) -> int:
        """How often to repeat a measurement. `--quick` makes it a third."""
        return max(3, count // 3) if self.is_quick else count

    def filled(self, database: Database, *, deletions: int) -> Filled:
        """An installation with 100 orgs, 9,900 connections, and as many changes as deletions."""
        key = (database.name, deletions)
        if key not in self._filled:
            if self._simulator is None:
                self._simulator = self._stack.enter_context(run_simulator())
            installation = self._stack.enter_context(install(database, simulator=self._simulator))
            facts = installation.run("fill", str(deletions), str(deletions))
            self._filled[key] = Filled(installation=installation, facts=facts, deletions=deletions)
        return self._filled[key]


@contextlib.contextmanager
def _served(installation: Installation, facts: dict[str, Any]) -> Iterator[tuple[Server, Browser]]:
    installation.run("refresh_syncs")
    with (
        installation.serve() as server,
        Browser(address=server.address, cookies=dict(facts["cookies"])) as browser,
    ):
        browser.get("/")
        yield server, browser


# --- Deletions ----------------------------------------------------------------------------------


def deletion(bench: Bench) -> Iterator[Line]:
    """Row 1."""
    rounds = bench.rounds(30)
    for database in bench.databases:
        with (
            run_simulator(delay=DELAY, to_delete=2 * (rounds + 1)) as simulator,
            install(database, simulator=simulator) as installation,
        ):
            facts = installation.run("credentials", str(world.SOURCE), "1")
            with _served(installation, facts) as (_, browser):
                yield from _compare_with_curl(
                    database, browser, simulator, rounds=rounds, credential=facts["credential"]
                )


def _post_with_htmx(browser: Browser, form: dict[str, str]) -> tuple[str, bytes]:
    return browser.post_with_htmx("/deletions/new/", form)


def _post_without_javascript(browser: Browser, form: dict[str, str]) -> tuple[str, bytes]:
    address = browser.post("/deletions/new/", form)
    return address, browser.get(address)


def _compare_with_curl(
    database: Database, browser: Browser, simulator: Simulator, *, rounds: int, credential: str
) -> Iterator[Line]:
    ids, peer_ids = (
        world.deletable(2 * (rounds + 1), source=source) for source in (world.SOURCE, world.PEER)
    )
    verified: list[float] = []

    def ours(post: Callable[[Browser, dict[str, str]], tuple[str, bytes]]) -> float:
        form = _review_form(browser, credential=credential, connection_id=ids.pop())
        started = time.perf_counter()
        address, shown = post(browser, form)
        elapsed = (time.perf_counter() - started) * 1000
        if b'data-outcome="deleted"' not in shown:
            raise RuntimeError(f"{address} does not show the response.")
        while VERIFIED not in browser.get(address):
            if time.perf_counter() - started > 30:
                raise RuntimeError(f"{address} does not show the verification.")
            time.sleep(0.05)
        verified.append((time.perf_counter() - started) * 1000 - elapsed)
        return elapsed

    def curl() -> float:
        return _curl(simulator, peer_ids.pop())

    for how, post in (("", _post_with_htmx), (", without JavaScript", _post_without_javascript)):
        own, peer = interleaved(rounds, partial(ours, post), curl)
        yield line(
            f"confirmed deletion, {DELAY * 1000:.0f} ms a call{how}",
            own,
            peer="curl: list, DELETE, list",
            peer_samples=peer,
            database=database.name,
            at_most_ratio=0.9,
        )
    yield line("its verification, after that", verified, database=database.name, at_most=2000)


def _review_form(browser: Browser, *, credential: str, connection_id: str) -> dict[str, str]:
    page = browser.get(f"/deletions/new/?credential={credential}&connection_id={connection_id}")
    form = page[page.index(b'data-confirm="') :].decode()
    values = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
    confirmation = re.findall(r'data-confirm="([^"]*)"', form)[0]
    return values | {"reason": "benchmark", "ticket": "", "confirmation": confirmation}


def _curl(simulator: Simulator, connection_id: str) -> float:
    """How long curl takes to list, DELETE and list on one connection, by curl's own clock."""
    api_key, application_key = world.keys_of(world.PEER)
    arguments = ["curl"]
    for method, path in (("GET", API), ("DELETE", f"{API}/{connection_id}"), ("GET", API)):
        arguments += ["--silent", "--fail", "--cacert", simulator.bundle, "--request", method]
        arguments += ["--header", f"DD-API-KEY: {api_key}"]
        arguments += ["--header", f"DD-APPLICATION-KEY: {application_key}"]
        arguments += ["--output", "/dev/null", "--write-out", "%{time_total} "]
        arguments += [simulator.url + path, "--next"]
    printed = subprocess.run(arguments[:-1], check=True, capture_output=True, text=True).stdout
    return sum(map(float, printed.split())) * 1000


def own_cost(bench: Bench) -> Iterator[Line]:
    """Row 2."""
    for database in bench.databases:
        costs = _costs(bench, database)
        name = database.name
        yield line("processor time", costs["cpu"], database=name)
        own = [whole - bare for whole, bare in zip(costs["cpu"], costs["bare_cpu"], strict=True)]
        yield line("of that, without Datadog's requests", own, database=name, at_most=28)
        yield from _shares(costs["samples"], database=name)
        for unit, at_most in (("statements", 55), ("commits", 5)):
            post, verification = costs[unit]
            yield line(
                f"{unit}: {post} for the POST, {verification} for its verification",
                [post + verification],
                unit="",
                database=name,
                at_most=at_most,
            )


def _shares(samples: dict[str, int], *, database: str) -> Iterator[Line]:
    """The share of each owner, largest first."""
    for owner, count in sorted(samples.items(), key=lambda each: -each[1]):
        share = round(100 * count / sum(samples.values()))
        yield line(f"share of {owner}", [share], unit="%", database=database)


def far_database(bench: Bench) -> Iterator[Line]:
    """Row 3."""
    if bench.url:
        far = Database(url=bench.url, delay=FAR)
        costs = _costs(bench, far)
        both = zip(costs["post"], costs["verification"], costs["bare"], strict=True)
        own = [post + verification - bare for post, verification, bare in both]
        what = f"POST and verification, database {FAR * 1000:g} ms away, without Datadog's time"
        yield line(what, own, database=far.name, at_most=200)
        yield line("of that, the POST", costs["post"], database=far.name)
        yield line("`SELECT 1`, for comparison", costs["round_trip"], database=far.name)


def _costs(bench: Bench, database: Database) -> dict[str, Any]:
    rounds = bench.rounds(30)
    with (
        run_simulator(to_delete=rounds + 2) as simulator,
        install(database, simulator=simulator) as installation,
    ):
        return installation.run("delete", str(rounds))


def bulk_deletion(bench: Bench) -> Iterator[Line]:
    """Row 12."""
    with environment_with_official_client() as python:
        if python is None:
            return
        for database in bench.databases:
            # Always as many rounds in one org, because the length of its list affects both sides.
            results = [
                _delete_in_bulk(database, python=python)
                for _ in range(bench.rounds(9) // BULK_ROUNDS)
            ]
            yield line(
                f"{BULK} deletions, {BULK_DELAY * 1000:.0f} ms a call, 8 in parallel",
                [sample for result in results for sample in result["own"]],
                peer="the official client, 8 threads",
                peer_samples=[sample for result in results for sample in result["peer"]],
                database=database.name,
                at_most_ratio=1.6,
            )
            yield line(
                "processor time, per deletion",
                [sample for result in results for sample in result["cpu"]],
                database=database.name,
            )


def _delete_in_bulk(database: Database, *, python: str) -> dict[str, Any]:
    connections = BULK * (BULK_ROUNDS + 1)
    with (
        run_simulator(delay=BULK_DELAY, to_delete=connections) as simulator,
        install(database, simulator=simulator) as installation,
    ):
        return installation.run("bulk", str(BULK_ROUNDS), str(BULK), python)


# --- Pages --------------------------------------------------------------------------------------


def inventory(bench: Bench) -> Iterator[Line]:
    """Row 4."""
    yield from _pages_and_parsing(bench, addresses.inventory(), at_most_ratio=1.1)


def lists(bench: Bench) -> Iterator[Line]:
    """Row 5."""
    yield from _pages_and_parsing(bench, addresses.lists(), at_most_ratio=0.6)
    for database in bench.databases:
        filled = bench.filled(database, deletions=bench.deletions)
        paths = addresses.details(filled.facts)
        with (
            _served(filled.installation, filled.facts) as (server, browser),
            Browser(address=server.address, cookies={}) as stranger,
        ):
            nothing, *samples = interleaved(
                bench.rounds(21),
                partial(_time_page, stranger, addresses.NO_STATEMENT),
                *(partial(_time_page, browser, path) for path in paths.values()),
            )
        for name, times in zip(paths, samples, strict=True):
            peer = "a page without a statement"
            yield line(name, times, peer=peer, peer_samples=nothing, database=database.name)


def _pages_and_parsing(
    bench: Bench, paths: dict[str, str], *, at_most_ratio: float
) -> Iterator[Line]:
    """Pages, compared with parsing all connections as Datadog sends them."""
    text = world.list_every_pair(orgs=ORGS)
    for database in bench.databases:
        filled = bench.filled(database, deletions=bench.deletions)
        with _served(filled.installation, filled.facts) as (_, browser):
            parsing, *samples = interleaved(
                bench.rounds(21),
                partial(milliseconds, partial(json.loads, text)),
                *(partial(_time_page, browser, path) for path in paths.values()),
            )
        for name, times in zip(paths, samples, strict=True):
            yield line(
                name,
                times,
                peer="json.loads of every connection",
                peer_samples=parsing,
                database=database.name,
                at_most_ratio=at_most_ratio,
            )


def _time_page(browser: Browser, path: str) -> float:
    return milliseconds(lambda: browser.get(path, compressed=True))


def sizes(bench: Bench) -> Iterator[Line]:
    """Row 6."""
    filled = bench.filled(Database(), deletions=bench.deletions)
    limits = {"inventory": ("/connections/", 20.0), "matrix of 50 × 50": (addresses.MATRIX, 40.0)}
    others = addresses.lists() | addresses.details(filled.facts)
    limits |= {name: (path, 15.0) for name, path in others.items()}
    with _served(filled.installation, filled.facts) as (_, browser):
        for name, (path, at_most) in limits.items():
            size = len(browser.get(path, compressed=True)) / 1000
            yield line(name, [size], unit="kB", at_most=at_most)


# --- Syncs --------------------------------------------------------------------------------------


def syncs(bench: Bench) -> Iterator[Line]:
    """Row 7."""
    for database in bench.databases:
        with (
            run_simulator(delay=SYNC_DELAY) as simulator,
            install(database, simulator=simulator) as installation,
        ):
            result = installation.run("sync", str(bench.rounds(15)))
        name = database.name
        yield line(
            f"sync of {len(world.SYNCED)} orgs, {SYNC_DELAY * 1000:.0f} ms a call",
            result["sync"],
            peer=f"requests with {result['threads']} threads",
            peer_samples=result["bare"],
            database=name,
            at_most_ratio=1.3,
        )
        yield line("its processor time", result["cpu"], database=name)


# --- Processes ----------------------------------------------------------------------------------


def service(bench: Bench) -> Iterator[Line]:
    """Row 8."""
    started, resident, proportional = [], [], []
    with (
        run_simulator() as simulator,
        install(Database(), simulator=simulator) as installation,
    ):
        facts = installation.run("credentials", str(world.SOURCE), "1")
        for number in range(bench.rounds(9) + 1):
            begin = time.perf_counter()
            with installation.serve() as server:
                with Browser(address=server.address, cookies=dict(facts["cookies"])) as browser:
                    browser.get("/")
                seconds = time.perf_counter() - begin
                if number:
                    # Leaves out the first start, which collects the static files.
                    started.append(seconds * 1000)
                if number in (1, 2, 3):
                    time.sleep(5)
                    resident.append(server.memory())
                    proportional.append(server.shared_memory())
    yield line("`./run serve` until the first page", started, at_most=1500)
    yield line("memory 5 s later, all processes", resident, unit="MiB", at_most=180)
    yield line("the same, shared pages counted once", proportional, unit="MiB")


BARE_SETUP = """
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"])
django.setup()
"""
_NO_ID = "00000000-0000-4000-8000-000000000000"
COMMANDS = {
    "list_org_connections --stored": ("list_org_connections", "--stored", "--json"),
    "list_changes": ("list_changes", "--json"),
    "export_deletions": ("export_deletions", "--format", "json"),
    "delete_org_connection, unknown credential": (
        *("delete_org_connection", "--credential", "none", "--connection-id", _NO_ID),
        *("--reason", "benchmark", "--yes", "--json"),
    ),
}


def commands(bench: Bench) -> Iterator[Line]:
    """Row 9."""
    with (
        run_simulator() as simulator,
        install(Database(), simulator=simulator) as installation,
    ):
        installation.run("credentials", str(world.SOURCE), "1")
        python = (sys.executable, "manage.py")
        works = [
            partial(_run, installation, (sys.executable, "-c", BARE_SETUP)),
            *(partial(_run, installation, (*python, *command)) for command in COMMANDS.values()),
            partial(_run, installation, ("./run", "manage", "version")),
            partial(_run, installation, (*python, "version")),
        ]
        bare, *ours, script, direct = interleaved(bench.rounds(15), *works)
    for name, samples in zip(COMMANDS, ours, strict=True):
        yield line(
            name,
            samples,
            peer="bare django.setup()",
            peer_samples=bare,
            at_most_ratio=1.4,
        )
    added = [one - other for one, other in zip(script, direct, strict=True)]
    yield line("what `./run` adds", added, at_most=30)


def _run(installation: Installation, command: tuple[str, ...]) -> float:
    """The processor time of a command in milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        command,
        cwd=ROOT,
        env=installation.env,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) * 1000


# --- Exports and growth -------------------------------------------------------------------------

EXPORT = "/deletions/export/?format=csv"
JOIN = """
SELECT deletion.*, attempt.* FROM connections_deletion deletion
LEFT JOIN connections_attempt attempt ON attempt.deletion_id = deletion.id
ORDER BY deletion.requested_at DESC, deletion.id DESC
"""


def exports(bench: Bench) -> Iterator[Line]:
    """Row 10."""
    for database in bench.databases:
        filled = bench.filled(database, deletions=bench.deletions)
        name = database.name
        with _served(filled.installation, filled.facts) as (server, browser):
            alone = [_time_page(browser, "/deletions/") for _ in range(bench.rounds(30))]
            busy = _time_pages_during_export(server, browser, filled.facts)
            own, peer = interleaved(
                bench.rounds(5),
                partial(milliseconds, partial(_export, browser, EXPORT)),
                partial(_export_with_client, filled.installation),
            )
        client = "psql --csv" if database.url else "sqlite3 -csv"
        yield line(
            f"export of {filled.deletions:,} deletions as CSV",
            own,
            peer=f"{client} of the same join",
            peer_samples=peer,
            database=name,
            at_most_ratio=6,
        )
        yield line(
            "first page of the history during an export",
            busy,
            peer="the same without an export",
            peer_samples=alone,
            database=name,
            at_most_ratio=1.5,
        )


def _export(browser: Browser, path: str) -> int:
    """The size of an export, read as it arrives."""
    response = browser.request(path)
    size = 0
    while chunk := response.read(1 << 16):
        size += len(chunk)
    return size


def _export_with_client(installation: Installation) -> float:
    """How long the database's own client takes to write all columns as CSV."""
    if installation.database.url:
        command = ["psql", installation.env["DATABASE_URL"], "--csv", "--command", JOIN]
    else:
        path = installation.directory / "orgadmin.sqlite3"
        command = ["sqlite3", "-csv", "-header", "-readonly", str(path), JOIN]
    return milliseconds(lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL))


def _time_pages_during_export(
    server: Server, browser: Browser, facts: dict[str, Any]
) -> list[float]:
    times = []
    with Browser(address=server.address, cookies=dict(facts["cookies"])) as other:
        export = threading.Thread(target=_export, args=(other, EXPORT))
        export.start()
        while export.is_alive():
            times.append(_time_page(browser, "/deletions/"))
        export.join()
    return times


def growth(bench: Bench) -> Iterator[Line]:
    """Row 11."""
    for database in bench.databases:
        small = bench.filled(database, deletions=bench.deletions // 10)
        large = bench.filled(database, deletions=bench.deletions)
        yield from _page_growth(bench, database, small, large)
        yield from _verification_growth(database, small, large)


def _page_growth(bench: Bench, database: Database, small: Filled, large: Filled) -> Iterator[Line]:
    with (
        _served(small.installation, small.facts) as (few_server, few),
        _served(large.installation, large.facts) as (many_server, many),
    ):
        paths = [addresses.lists() | addresses.filtered(each.facts) for each in (small, large)]
        works = [
            partial(_time_page, browser, path)
            for name in paths[0]
            for browser, path in ((few, paths[0][name]), (many, paths[1][name]))
        ]
        samples = interleaved(bench.rounds(11), *works)
        times, memory = [], []
        for server, browser in ((few_server, few), (many_server, many)):
            before = server.memory("VmHWM")
            times.append(milliseconds(partial(_export, browser, EXPORT)))
            memory.append(server.memory("VmHWM") - before)
    for name, peer, own in zip(paths[0], samples[::2], samples[1::2], strict=True):
        yield _grown(name, own, peer, database=database, at_most_ratio=1.5)
    per_row = [took / each.deletions for took, each in zip(times, (small, large), strict=True)]
    yield _grown("export, per deletion", [per_row[1]], [per_row[0]], database=database)
    yield line(
        "memory that an export adds", memory[1:], unit="MiB", database=database.name, at_most=64
    )


def _verification_growth(database: Database, small: Filled, large: Filled) -> Iterator[Line]:
    few = small.installation.run("verify", "yes")
    many = large.installation.run("verify", "no")
    for what, key, count in (
        ("verifying the audit log, per event", "verify", "events"),
        ("comparing with the events, per deletion", "compare", "deletions"),
    ):
        own, peer = (each[key] * 1000 / each[count] for each in (many, few))
        yield _grown(what, [own], [peer], database=database)
    yield line("memory that verifying adds", [many["memory"]], unit="MiB", database=database.name)
    for what, key in (("making an evidence bundle", "bundle"), ("verifying it", "bundle_verify")):
        yield line(
            f"{what}, per deletion",
            [few[key] * 1000 / few["deletions"]],
            database=database.name,
        )


def _grown(
    what: str,
    own: list[float],
    peer: list[float],
    *,
    database: Database,
    at_most_ratio: float = 1.2,
) -> Line:
    return line(
        what,
        own,
        peer="a tenth of the history",
        peer_samples=peer,
        database=database.name,
        at_most_ratio=at_most_ratio,
    )


# --- All of them --------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Row:
    """One table of docs/PERFORMANCE.md."""

    title: str
    measure: Callable[[Bench], Iterator[Line]]
    # What was missing if it measured nothing.
    needs: str = ""


ROWS = {
    1: Row(title="A confirmed deletion", measure=deletion),
    2: Row(title="What a deletion costs", measure=own_cost),
    3: Row(
        title="A deletion with a distant database",
        measure=far_database,
        needs="Give --database postgres://….",
    ),
    4: Row(title="The inventory", measure=inventory),
    5: Row(title="Other lists", measure=lists),
    6: Row(title="Compressed size of pages", measure=sizes),
    7: Row(title="Syncing", measure=syncs),
    8: Row(title="Starting and memory", measure=service),
    9: Row(title="Commands", measure=commands),
    10: Row(title="Exports", measure=exports),
    11: Row(title="Growth", measure=growth),
    12: Row(
        title="A bulk deletion",
        measure=bulk_deletion,
        needs="The official client can't be installed with pip.",
    ),
}

"""Runs one process per plan, all at once.

Usage: `python -m tests.faults.concurrency.concurrent_requests PLANS`.
PLANS is a JSON document. The program runs the plans of `before` (such as seeding the database),
forks one process for each plan, prints "ready" when each has prepared, waits for a line on
standard input, starts all of them together, and prints their results as JSON.
"""

import json
import multiprocessing
import re
import sys
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import django

django.setup()

from django.test import Client  # noqa: E402

from connections import audit, urls  # noqa: E402, F401 - the pages, loaded once for all processes
from connections.access.actor import WORKER, command_actor, person_actor  # noqa: E402
from connections.batches import confirming, drafts, requesting, running  # noqa: E402
from connections.change_requests import sending  # noqa: E402
from connections.core import clock  # noqa: E402
from connections.core.datadog_keys import KeyPair  # noqa: E402
from connections.core.errors import DomainError  # noqa: E402
from connections.core.secret import Secret  # noqa: E402
from connections.credentials import lifecycle as credential_lifecycle  # noqa: E402
from connections.deletions import confirmations  # noqa: E402
from connections.deletions import requesting as deletion_requesting  # noqa: E402
from connections.inventory import syncs  # noqa: E402
from connections.models import Batch, Credential, Deletion, Person, Role, State  # noqa: E402
from tests.faults.concurrency.deciding import decide, guard  # noqa: E402
from tests.flows.support import REASON, read  # noqa: E402
from tests.support.people import make_person  # noqa: E402

type Plan = dict[str, Any]
type Results = list[dict[str, str]]
type Work = Callable[[], Results]

PATIENCE = 120.0  # seconds


def seed(plan: Plan) -> Work:
    """Store the people and credentials that the other plans use."""

    def work() -> Results:
        for name in plan["people"]:
            make_person(name, Role.OPERATOR)
        for pair in plan["pairs"]:
            keys = KeyPair(
                api_key=Secret(pair["api_key"]), application_key=Secret(pair["application_key"])
            )
            credential_lifecycle.add_credential(
                actor=command_actor(), name=pair["name"], site=pair["site"], keys=keys
            )
        return []

    return work


def ask(plan: Plan) -> Work:
    """See every connection of the plan first, then request and confirm each deletion."""
    actor = person_actor(person=Person.objects.get(username=plan["person"]))
    credentials_by_name = {credential.name: credential for credential in Credential.objects.all()}
    targets = [
        confirmations.find_target(
            actor=actor, credential=credentials_by_name[name], connection_id=UUID(connection_id)
        )
        for name, connection_id in plan["connections"]
    ]

    def delete(target: confirmations.DeletionTarget) -> dict[str, str]:
        same_form = uuid5(NAMESPACE_URL, str(target.connection_id))
        try:
            deletion = deletion_requesting.request_deletion(
                actor=actor,
                credential=target.credential,
                connection_id=target.connection_id,
                reason=REASON,
                ticket="",
                request_id=same_form if plan["is_same_form"] else uuid4(),
                digest=target.digest,
                confirmation=target.text_to_type,
            )
        except DomainError as error:
            return {"response": type(error).__name__}
        return {"response": "deletion", "id": str(deletion.pk)}

    return lambda: [delete(target) for target in targets]


def visit(plan: Plan) -> Work:
    """Open every confirmation page in a separate browser first, then submit every form."""
    client = Client(SERVER_NAME="127.0.0.1")
    client.force_login(Person.objects.get(username=plan["person"]))
    ids = dict(Credential.objects.values_list("name", "pk"))
    forms = []
    for name, one in plan["connections"]:
        page = read(client.get(f"/deletions/new/?credential={ids[name]}&connection_id={one}"))
        form = page.form_to("/deletions/new/")
        typed = {"reason": REASON, "confirmation": form.attributes["data-confirm"]}
        forms.append(form.fields | typed)

    def send(form: dict[str, str]) -> dict[str, str]:
        response = client.post("/deletions/new/", form)
        return {"response": str(response.status_code), "at": response.headers.get("Location", "")}

    return lambda: [send(form) for form in forms]


def agree(plan: Plan) -> Work:
    """Open a pair's agreement as each person first, then submit each form, named in its purpose."""

    def opened(person: str) -> tuple[Client, dict[str, str]]:
        client = Client(SERVER_NAME="127.0.0.1")
        client.force_login(Person.objects.get(username=person))
        page = read(client.get(f"/agreements/set/?connection={plan['connection']}"))
        form = page.form_to("/agreements/").fields | {"owner_kind": "team", "owner_text": "SOC"}
        if not plan["sends_version"]:
            del form["shown"]
        return client, form | {"purpose": person}

    def send(client: Client, form: dict[str, str]) -> dict[str, str]:
        response = client.post("/agreements/", form)
        saved = re.findall(r"purpose “([^”]+)”", read(response).text)
        return {"response": str(response.status_code), "saw": "".join(saved)}

    forms = [opened(person) for person in plan["people"]]
    return lambda: [send(*form) for form in forms]


def record(plan: Plan) -> Work:
    """Run transactions that each read a row, change it, and append an event."""
    actor = command_actor()
    credential = Credential.objects.get(name="Payments US")

    def append_event(number: int) -> dict[str, str]:
        sentence = f"Act {number} of process {plan['number']}."
        with audit.atomic():
            row = Credential.objects.get(pk=credential.pk)
            row.last_used_at = None
            row.save(update_fields=["last_used_at"])
            audit.record(
                code=audit.EventCode.EXPORT_STARTED,
                actor=actor,
                sentence=audit.Sentence("{text}", text=sentence),
            )
        return {"response": sentence}

    return lambda: [append_event(number) for number in range(plan["acts"])]


def refresh(plan: Plan) -> Work:
    """Sync every org repeatedly, as the inventory pages of several people do."""
    everyone = list(Credential.objects.order_by("pk" if plan["number"] % 2 else "-pk"))

    def work() -> Results:
        for _ in range(plan["times"]):
            syncs.sync_credentials(credentials=everyone, actor=WORKER)
        return []

    return work


def sync_by_itself(plan: Plan) -> Work:
    """Sync what is stale, as an open page does, this many seconds from now."""

    def work() -> Results:
        with clock.offset(timedelta(seconds=plan["seconds"])):
            syncs.sync_orgs(actor=WORKER, only_stale=True)
        return []

    return work


def send(plan: Plan) -> Work:
    """Load the waiting deletions first, then send each, as a worker with stale rows does."""
    waiting = list(Deletion.objects.filter(state=State.WAITING).order_by("requested_at"))

    def work() -> Results:
        for deletion in waiting:
            sending.send(change_request=deletion, actor=WORKER)
        return [{"response": deletion.outcome} for deletion in waiting]

    return work


def plan_batch(plan: Plan) -> Work:
    """Sync, then plan the bulk deletion of the connections."""
    actor = person_actor(person=Person.objects.get(username=plan["person"]))
    sites = dict(Credential.objects.values_list("name", "site"))
    connections = [f"{sites[name]}/{connection_id}" for name, connection_id in plan["connections"]]

    def work() -> Results:
        syncs.sync_orgs(actor=WORKER)
        batch = drafts.create_draft_from_selection(actor=actor, connections=connections)
        return [{"response": str(batch.pk)}]

    return work


def confirm_batch(plan: Plan) -> Work:
    """Read the draft first, then request and confirm it."""
    actor = person_actor(person=Person.objects.get(username=plan["person"]))
    batch = Batch.objects.get()
    confirmation = confirming.text_to_type(batch)

    def work() -> Results:
        try:
            requesting.request_batch(
                batch=batch,
                actor=actor,
                reason=REASON,
                ticket="",
                digest=batch.digest,
                confirmation=confirmation,
            )
        except DomainError as error:
            return [{"response": type(error).__name__}]
        return [{"response": batch.state}]

    return work


def run_batches(plan: Plan) -> Work:
    """Run bulk deletions as a worker with this many threads does, until no row waits."""
    running.PARALLEL_DELETES = plan["parallel"]
    open_rows = Deletion.objects.filter(state__in=[State.WAITING, State.SENDING])

    def work() -> Results:
        while open_rows.exists():
            running.run_due(actor=WORKER)
        return []

    return work


KINDS: dict[str, Callable[[Plan], Work]] = {
    "seed": seed,
    "ask": ask,
    "visit": visit,
    "agree": agree,
    "record": record,
    "refresh": refresh,
    "sync_by_itself": sync_by_itself,
    "send": send,
    "plan_batch": plan_batch,
    "confirm_batch": confirm_batch,
    "run_batches": run_batches,
    "guard": guard,
    "decide": decide,
}


def run_process(plan: Plan, *, start: Barrier, results: Connection) -> None:
    """One process: prepare, wait for the others, work, send the results."""
    try:
        work = KINDS[plan["kind"]](plan)
    except BaseException:
        # So that the others don't wait for this one.
        start.abort()
        raise
    start.wait(PATIENCE)
    start.wait(PATIENCE)
    results.send(work())


def run_together(plans: list[Plan], *, announce: Callable[[], None]) -> list[Results]:
    """Run one process for each plan at the same time; raises if one fails.

    They are forked before anything was opened, so each has its own database connection.
    """
    fork = multiprocessing.get_context("fork")
    start = fork.Barrier(len(plans) + 1)
    pipes = [fork.Pipe(duplex=False) for _ in plans]
    processes = [
        fork.Process(target=run_process, args=(plan,), kwargs={"start": start, "results": sender})
        for plan, (_, sender) in zip(plans, pipes, strict=True)
    ]
    for process in processes:
        process.start()
    for _, sender in pipes:
        sender.close()
    start.wait(PATIENCE)
    announce()
    start.wait(PATIENCE)
    results: list[Results] = [receiver.recv() for receiver, _ in pipes]
    for process in processes:
        process.join(PATIENCE)
    return results


def wait_for_start() -> None:
    """Report that every process is ready, and wait for the test to start them."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()


def main() -> int:
    """Prepare the database, then run the plans together."""
    everything: Plan = json.loads(sys.argv[1])
    for plan in everything["before"]:
        run_together([plan], announce=lambda: None)
    sys.stdout.write(json.dumps(run_together(everything["plans"], announce=wait_for_start)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A database in which everything that a release stores has happened, and the keys that it needs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orgadmin.demo.__main__ import clean_environment
from tests.support.processes import ROOT, manage

# The connections that a command can delete without an approval.
PLAN = """
from connections.models import OrgConnectionSnapshot
listed = OrgConnectionSnapshot.objects.filter(credential__policy="none", is_current=True)
rows = {f"{site},{pk}" for site, pk in listed.values_list("site", "connection_id")}
for row in sorted(rows)"""

# An access review by owners, of which one has decided, and the next one.
REVIEW = """
from datetime import timedelta
from connections.access.actor import WORKER, person_actor
from connections.access_reviews import decisions, population, repeating
from connections.agreements.setting import set_agreements
from connections.core import clock
from connections.models import AccessReviewRow, Agreement, Assignment, Person
auditor, owner = (Person.objects.get(username=name) for name in ("auditor", "operator"))
with clock.offset(-timedelta(days=40)):
    review = population.start_review(
        actor=person_actor(person=auditor), name="Monthly", scope="owner=operator",
        due=clock.now().date() + timedelta(days=10), reviewers=[], assignment=Assignment.OWNERS,
        repeat_months=1,
    )
    row = AccessReviewRow.objects.filter(review=review)[0]
    decisions.decide(
        review=review, actor=person_actor(person=owner), connections=[row.key.reference],
        decision="keep", reason="Still used", terms={"purpose": "Weekly report"},
    )
repeating.start_due(actor=WORKER)
"""


@contextmanager
def running_simulator(directory: Path) -> Iterator[dict[str, str]]:
    """Run the demo's Datadog simulator; yields the environment of an installation that uses it."""
    env = clean_environment(directory=directory, port=0)
    env["DJANGO_SETTINGS_MODULE"] = "orgadmin.settings"
    command = [sys.executable, "-m", "sandbox", "--exit-with-parent", str(os.getpid())]
    with subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout
        env["ORGADMIN_EXTRA_SITES"] = json.loads(process.stdout.readline())["extra_sites"]
        try:
            yield env
        finally:
            process.kill()


def fill(env: dict[str, str]) -> None:
    """Make the demo's month of deletions, approvals, changes and reviews, and what it lacks."""
    seed = [sys.executable, "-m", "orgadmin.demo.seed"]
    subprocess.run(seed, env=env, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    delete(env, first=0, last=3)
    checked("shell", "--no-imports", "--command", REVIEW, env=env)
    checked("hold", "--reason", "The data center is being moved", env=env)
    checked("release_hold", "--yes", env=env)
    checked("erase_person", "--username", "viewer", "--yes", env=env)
    # Email that isn't delivered: who is to be reminded, and of what, is stored first.
    checked("worker", "--once", env=env | {"EMAIL_URL": "smtp://127.0.0.1:1"})


def delete(env: dict[str, str], *, first: int, last: int) -> None:
    """Delete some connections that need no approval, as one bulk deletion."""
    plan = Path(env["ORGADMIN_DATA_DIR"]) / "plan.csv"
    rows = checked(
        "shell", "--no-imports", "--command", f"{PLAN}[{first}:{last}]: print(row)", env=env
    )
    plan.write_text(f"site,connection_id\n{rows}")
    reason = ("--reason", "No longer used", "--yes")
    checked("delete_org_connections", "--plan", str(plan), *reason, env=env)


def checkpoint(env: dict[str, str]) -> str:
    """Make and return a checkpoint of the whole audit log."""
    code = (
        "from connections.audit.checkpoints import make_checkpoint\nprint(make_checkpoint().note)"
    )
    return checked("shell", "--no-imports", "--command", code, env=env)


def schema_finding(env: dict[str, str]) -> dict[str, str]:
    """What `doctor` says of the migrations. It fails: no worker does what is due since then."""
    findings: list[dict[str, str]] = json.loads(manage("doctor", "--json", env=env).stdout)[
        "findings"
    ]
    [finding] = [finding for finding in findings if finding["check"] == "migrations"]
    return finding


def checked(*arguments: str, env: dict[str, str]) -> str:
    """Run a command that must succeed; returns what it prints."""
    done = manage(*arguments, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

"""One night with the simulator: what five people find in the morning, and what they were mailed."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from html import unescape

import pytest
from django.test import Client

from connections.access.actor import person_actor
from connections.change_requests import approvals, lifecycle
from connections.models import (
    AccessRequest,
    ApprovalPolicy,
    ChangeRequest,
    Credential,
    Deletion,
    Notification,
    OrgPair,
    Person,
    RequestKind,
)
from connections.notifications import delivery
from connections.operations.worker import Worker
from sandbox import faults
from sandbox.server import SandboxServer
from sandbox.world import World
from tests.flows.support import read, store_credential
from tests.notifications.conftest import mail_server
from tests.notifications.smtp import MailServer
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion
from tests.support.sandbox import EU, US, connection_between, key_pair_of, org_named

__all__ = ["mail_server"]

pytestmark = pytest.mark.django_db

EVENING = datetime.fromisoformat("2026-03-02T18:00:00+00:00")
MORNING = datetime.fromisoformat("2026-03-03T07:00:00+00:00")


@dataclass(kw_only=True)
class Team:
    """Five people, the credentials they work with, and the time."""

    victor: Person  # a Viewer, who owns access
    ada: Person  # an Operator
    linus: Person  # an Approver
    edith: Person  # an Auditor
    root: Person  # the administrator, who also manages credentials
    credentials: dict[str, Credential]
    clock: SettableClock
    world: World
    worker: Worker
    mail_server: MailServer
    mailed_before: int = 0

    @property
    def people(self) -> list[Person]:
        return [self.victor, self.ada, self.linus, self.edith, self.root]

    def work_until(self, end: datetime, *, minutes: float = 5) -> None:
        """Let the worker do what is due, and deliver its mail, each so many minutes."""
        while self.clock.at < end:
            self.clock.advance(minutes=minutes)
            self.worker.work_once()
            delivery.run_due(channel=Notification.Channel.MAIL)

    def request(self, source: str, sink: str, kind: RequestKind, **wanted: object) -> AccessRequest:
        """Ada requests access, Linus approves, Ada confirms."""
        orgs = (org_named(self.world, source), org_named(self.world, sink))
        pair = OrgPair(orgs[0].site.name, orgs[0].id, orgs[1].id)
        terms = {"owner": self.victor, "purpose": "incident response"} | wanted
        actor = person_actor(person=self.ada)
        access = request_for(actor=actor, pair=pair, kind=kind, wanted=terms)  # type: ignore[arg-type]
        return self.decide(access)

    def decide[R: ChangeRequest](self, request: R) -> R:
        """Linus approves, Ada confirms."""
        digest, actor = request.approval_digest, person_actor(person=self.linus)
        approvals.approve(change_request=request, actor=actor, digest=digest)
        request.refresh_from_db()
        actor, text = person_actor(person=self.ada), request.sink_org_name
        lifecycle.execute(change_request=request, actor=actor, confirmation=text)
        request.refresh_from_db()
        return request


@pytest.fixture
def team(
    victor: Person,
    ada: Person,
    linus: Person,
    edith: Person,
    root: Person,
    sandbox: SandboxServer,
    clock: SettableClock,
    mail_server: MailServer,
) -> Team:
    """Everyone at work, a day before the night."""
    world = sandbox.world
    for name, site in (("Billing US", US), ("Vendor US", US), ("Retail EU", EU)):
        world.add_key_pair(org=world.add_org(name=name, site=site))
    orgs = {org.name: org for org in world.orgs.values()}
    for source, sink in (("Billing US", "Group SOC"), ("Group SOC", "Vendor US")):
        world.add_connection(
            source_org=orgs[source],
            sink_org=orgs[sink],
            connection_types=("logs",),
            created_by=key_pair_of(world, source).user,
            created_at=EVENING - timedelta(days=100),
        )
    clock.at = EVENING - timedelta(hours=8)
    credentials = {
        name: store_credential(sandbox, name, policy=ApprovalPolicy.ONE)
        for name in orgs
        if name != "Data Lake EU"
    }
    allowed = {"check": "permissions", "ok": True, "text": "", "errors": []}
    allowed["at"] = clock.now().isoformat()
    Credential.objects.update(verification=[allowed], keys_set_at=clock.at)
    return Team(
        victor=victor,
        ada=ada,
        linus=linus,
        edith=edith,
        root=root,
        credentials=credentials,
        clock=clock,
        world=world,
        worker=Worker(),
        mail_server=mail_server,
    )


def go_through_the_night(team: Team) -> None:
    """Six things go wrong, and one needs people."""
    world, clock = team.world, team.clock
    # Access that ends at midnight, and whose connection someone widens at Datadog.
    team.request(
        *("Payments US", "Vendor US", RequestKind.CREATE),
        types=["logs"],
        ends_on=EVENING.date(),
    )
    team.work_until(EVENING, minutes=120)
    team.mailed_before = len(team.mail_server.messages)
    widened = connection_between(world, "Payments US", "Vendor US")
    world.change_connection(connection_id=widened.id, connection_types=("logs", "audit"))
    # A deletion that Datadog refuses.
    world.set_fault(fault=faults.RETURNS_403, method="DELETE")
    vendor = connection_between(world, "Group SOC", "Vendor US")
    team.decide(
        request_deletion(
            actor=person_actor(person=team.ada),
            credential=team.credentials["Group SOC"],
            connection_id=vendor.id,
        )
    )
    world.clear_faults()
    # A move whose POST Datadog refuses.
    world.set_fault(fault=faults.RETURNS_409, method="POST")
    team.request("Payments US", "Group SOC", RequestKind.MOVE)
    team.work_until(clock.at + timedelta(minutes=15))
    team.work_until(clock.at + timedelta(hours=1), minutes=30)
    world.clear_faults()
    # A site goes down while it handles a POST.
    world.set_fault(fault=faults.EXECUTES_THEN_CLOSE, method="POST")
    team.request("Labs EU", "Retail EU", RequestKind.CREATE, types=["logs"])
    world.set_fault(fault=faults.CLOSE_AFTER_READING, site=EU, operation="list")
    # Someone revokes the keys of an org.
    world.revoke(key_pair_of(world, "Billing US"))
    team.work_until(clock.at + timedelta(minutes=30))
    team.work_until(MORNING, minutes=150)


# --- The morning ---------------------------------------------------------------------------------

# What each person can act on: kind, count, button. The rest waits for others.
MINE = {
    "victor": ["interrupted 1 Request again…", "acceptance 1 Accept…"],
    "ada": [
        *("unknown 1 Check outcome", "interrupted 1 Request again…", "refused 1 Request again…"),
        *("not_agreed 5 Set owners…", "change 1 Acknowledge…"),
    ],
    "linus": ["approval 1 Decide…", "change 1 Acknowledge…"],
    "edith": ["change 1 Acknowledge…"],
    "root": [
        *("unknown 1 Check outcome", "interrupted 1 Request again…", "refused 1 Request again…"),
        *("keys_rejected 1 View credential", "unreachable 2 View orgs", "approval 1 Decide…"),
        *("not_agreed 5 Set owners…", "change 1 Acknowledge…"),
    ],
}
# As the administrator, who can act on everything, reads them: what goes on first, changes last.
KINDS = [line.split()[0] for line in MINE["root"] if not line.startswith("not_agreed")]
# What can be done on the page that a line leads to, and who is offered it.
FORMS = {
    "unknown": ("/reconcile/", {"ada", "root"}),
    "approval": ("/approve/", {"linus", "root"}),
}
# The emails of that night. What a person does is not mailed to that person.
INTERRUPTED, CUT_OFF = "Payments US → Group SOC", "Labs EU → Retail EU"
REFUSED, ENDED = "Group SOC → Vendor US", "Payments US → Vendor US"
MAILED = {
    f"Approval needed: {REFUSED}": ("linus", "root"),
    f"Deletion approved: {REFUSED}": ("ada",),
    f"Failed: {REFUSED}": ("linus",),
    f"Approval needed: {INTERRUPTED}": ("victor", "linus", "root"),
    f"Access request approved: {INTERRUPTED}": ("victor", "ada"),
    # Once with an hour to confirm it again, and once when that is over.
    f"Access interrupted: {INTERRUPTED}": (
        *("victor", "linus", "root"),
        *("victor", "ada", "linus", "root"),
    ),
    f"Access request: failed: {INTERRUPTED}": ("victor", "ada", "linus"),
    f"Approval needed: {CUT_OFF}": ("victor", "linus", "root"),
    f"Access request approved: {CUT_OFF}": ("victor", "ada"),
    f"Outcome unknown: {CUT_OFF}": ("victor", "linus"),
    f"Still unknown after 1 hour: {CUT_OFF}": ("victor", "ada", "linus", "root"),
    "Changes need attention: 1 change": ("victor",),
    "Syncs are failing: 2 orgs on sandbox-eu1": ("root",),
    "Syncs are failing: 1 org on sandbox-us1": ("root",),
    f"Approval needed: {ENDED}": ("linus", "root"),
    f"Access ended, connection not deleted: {ENDED}": ("victor", "ada", "linus", "root"),
}
ROW = re.compile(
    r'<li class="tone-\w+" data-kind="(\w+)" data-count="(\d+)".*?'
    r'<a class="button button-small" href="([^"]+)">([^<]+)<',
    re.DOTALL,
)


def lines_of(client: Client) -> tuple[list[tuple[str, str, str, str]], ...]:
    """Kind, count, address and button: the lines of this person, and those that wait for others."""
    mine, _, others = client.get("/").text.partition('id="others"')
    return ROW.findall(mine), ROW.findall(others)


def things(team: Team) -> dict[str, str]:
    """The page of what each line is about."""
    moved, cut_off = (
        f"/access-requests/{AccessRequest.objects.get(kind=kind, source_org_name=source).pk}/"
        for kind, source in (("move", "Payments US"), ("create", "Labs EU"))
    )
    ended, refused = (
        f"/deletions/{Deletion.objects.get(outcome=outcome).pk}/" for outcome in ("", "refused")
    )
    labs, billing = team.credentials["Labs EU"], team.credentials["Billing US"]
    widened = connection_between(team.world, "Payments US", "Vendor US")
    return {
        "unknown": cut_off,
        "interrupted": moved,
        "refused": refused,
        "keys_rejected": f"/credentials/{billing.pk}/",
        "unreachable": f"/orgs/{labs.site}/{labs.org_id}/",
        "approval": ended,
        "change": f"/connections/{US}/{widened.id}/",
    }


def clicks_to(client: Client, kind: str, thing: str) -> int:
    """How many clicks lead from the overview to a page. Opening what waits for others is one."""
    mine, others = lines_of(client)
    opened = 0 if any(line[0] == kind for line in mine) else 1
    [url] = [line[2] for line in (mine, others)[opened] if line[0] == kind]
    if url == thing:
        return opened + 1
    assert thing in [href for href, _ in read(client.get(unescape(url))).links]
    return opened + 2


def emails(team: Team) -> dict[str, Counter[str]]:
    """How often each person was mailed under each subject that night."""
    found: dict[str, Counter[str]] = {}
    for message in team.mail_server.messages[team.mailed_before :]:
        subject = " ".join(message["Subject"].split()).removeprefix("Org Admin: ")
        person = message["To"].partition("@")[0]
        found.setdefault(subject, Counter())[person] += 1
    return found


def test_in_the_morning_each_person_finds_what_went_wrong_and_who_can_act_on_it(
    team: Team, client_of: Callable[[Person], Client], subtests: pytest.Subtests
):
    go_through_the_night(team)
    pages = things(team)
    for person in team.people:
        client = client_of(person)
        with subtests.test("rows", person=person.username):
            mine, others = lines_of(client)
            assert [f"{kind} {n} {button}" for kind, n, _, button in mine] == MINE[person.username]
            own = [line[0] for line in mine]
            assert [line[0] for line in others] == [kind for kind in KINDS if kind not in own]
            assert {line[3] for line in others} <= {"View"}
        with subtests.test("clicks", person=person.username):
            clicks = {kind: clicks_to(client, kind, thing) for kind, thing in pages.items()}
            # A list is between, for what a line sums up and for the note on a change, or the form
            # that requests access again.
            between = {"unreachable", "change"} | ({"interrupted"} & set(own))
            assert clicks == {kind: 1 + (kind in between) + (kind not in own) for kind in pages}
        with subtests.test("what can be done", person=person.username):
            for kind, (ending, people) in FORMS.items():
                page = read(client.get(pages[kind]))
                assert page.has_form_to(ending) == (person.username in people), kind
    with subtests.test("emails"):
        assert emails(team) == {subject: Counter(people) for subject, people in MAILED.items()}

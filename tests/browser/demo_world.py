"""The demo company with every state and outcome, and valid and invalid keys."""

import pickle
import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

from allauth.mfa.models import Authenticator
from django.conf import settings

from connections import audit
from connections.access.actor import WORKER, Actor, command_actor, person_actor
from connections.audit import checkpoints
from connections.batches import (
    confirming,
    decisions,
    drafts,
    endings,
    requesting,
    running,
    stopping,
)
from connections.change_requests import approvals
from connections.change_requests.guards import ClockReading
from connections.change_requests.sending import claim
from connections.core import clock
from connections.core.datadog_keys import KeyPair
from connections.core.secret import Secret
from connections.credentials import lifecycle as credential_lifecycle
from connections.credentials import retirement
from connections.deletions import break_glass, confirmations
from connections.evidence import verification
from connections.inventory import protections, syncs
from connections.inventory.orgs import list_known_orgs
from connections.models import (
    ApprovalPolicy,
    AuditEvent,
    Batch,
    Credential,
    Deletion,
    Notification,
    OrgConnectionKey,
    Person,
    Role,
)
from connections.operations import due
from connections.people import people
from orgadmin.demo import history
from sandbox import faults
from sandbox.demo_world import connection_id_between, demo_world
from sandbox.world import World
from tests.browser.pages import NEVER_LISTED
from tests.support.deletions import request_deletion
from tests.support.mfa import set_up_app, set_up_recovery_codes

LONG_REASON = (
    "The contract with the partner ended on the last day of the quarter, their people have left, "
    "and nobody who was asked remembers a dashboard that would still use it."
)


@dataclass(frozen=True)
class _Builder:
    """Adds the states and outcomes that the demo lacks."""

    world: World

    @property
    def operator(self) -> Actor:
        return person_actor(person=Person.objects.get(username="operator"))

    @property
    def administrator(self) -> Actor:
        return person_actor(person=Person.objects.get(username="administrator"))

    def request(
        self, *, sender: str, source: str, sink: str, reason: str = LONG_REASON
    ) -> Deletion:
        """Request and confirm a deletion as the confirmation page does."""
        connection_id = uuid.UUID(connection_id_between(source=source, sink=sink))
        return self.request_by_id(connection_id, sender=sender, reason=reason)

    def request_by_id(self, connection_id: uuid.UUID, *, sender: str, reason: str) -> Deletion:
        """Like `request`, for a connection given by its ID."""
        return request_deletion(
            actor=self.operator,
            credential=Credential.objects.get(name=sender),
            connection_id=connection_id,
            reason=reason,
            ticket="SEC-212",
        )

    def deletions(self) -> None:
        """The states and outcomes that the demo lacks."""
        self._not_sent()
        self._stale()
        self.request(sender="Retail US", source="Retail US", sink="Contact Center")  # 401
        self.request(sender="Payments EU", source="Insurance EU", sink="Payments EU")  # 400
        self.request_by_id(
            uuid.UUID("0b7e3c1a-0000-4000-8000-00000000c0de"),
            sender="Payments EU",
            reason="An id that somebody passed on",
        )
        self._sending()
        self._break_glass()
        self.request(sender="Payments EU", source="Payments EU", sink="Partner Portal")  # 429

    def _not_sent(self) -> None:
        source, sink = "Retail US", "Analytics"
        connection_id = connection_id_between(source=source, sink=sink)
        self.world.set_fault(
            fault=faults.rate_limited(reset="300"), connection_id=connection_id, times=1
        )
        # That was hours ago, although other events are newer.
        is_right = patch.object(ClockReading, "behind", timedelta())
        with is_right, clock.offset(-timedelta(hours=5)):
            requested = self.request(sender="Retail US", source=source, sink=sink)
        with is_right, clock.offset(-timedelta(hours=4)):
            # Only this one: at that clock time, what was requested today is in the future.
            due.run_request(change_request=requested, actor=WORKER)

    def _stale(self) -> None:
        source, sink = "Payments EU", "Data Lake EU"
        connection_id = connection_id_between(source=source, sink=sink)
        self.world.change_connection(
            connection_id=connection_id, connection_types=("logs", "metrics", "audit")
        )
        self.request(sender="Payments EU", source=source, sink=sink)

    def _sending(self) -> None:
        """A deletion that is being sent, or whose process was killed."""
        credential = Credential.objects.get(name="Payments EU")
        credential_lifecycle.change_policy(
            actor=self.administrator, credential=credential, policy=ApprovalPolicy.ONE
        )
        requested = self.request(sender="Payments EU", source="Data Lake EU", sink="Payments EU")
        credential.refresh_from_db()
        credential_lifecycle.change_policy(
            actor=self.administrator, credential=credential, policy=ApprovalPolicy.NONE
        )
        approver = person_actor(person=Person.objects.get(username="approver"))
        approvals.approve(
            change_request=requested, actor=approver, digest=requested.approval_digest
        )
        assert claim([requested], actor=self.operator, was_rechecked=True)

    def _break_glass(self) -> None:
        """A deletion sent with break glass and without a late approval yet."""
        operator = Person.objects.get(username="operator")
        people.set_break_glass(actor=self.administrator, person=operator, is_allowed=True)
        requested = self.request(sender="Group SOC", source="Fraud Detection", sink="Group SOC")
        actor = person_actor(person=Person.objects.get(username="operator"))
        break_glass.break_glass(
            deletion=requested,
            actor=actor,
            break_glass_reason="Card data leaks into the SOC right now and nobody else is awake.",
            confirmation=confirmations.confirmation_text(requested, actor=actor),
        )

    def batches(self) -> None:
        """A plan, and bulk deletions in every state."""
        self._plan("Contact Center")
        self._ended_batches()
        self._request(self._plan("Lending EU"))
        self._request(self._plan("Search"))
        refused = connection_id_between(source="Experiments", sink="Search")
        self.world.set_fault(fault=faults.RETURNS_403, connection_id=refused)
        lost = connection_id_between(source="Labs", sink="Search")
        self.world.set_fault(fault=faults.RETURNS_500, connection_id=lost)
        running.run_due(actor=WORKER)
        paused = self._request(self._plan("Robotics"))
        stopping.pause_batch(batch=paused, actor=self.operator)
        self._request(self._plan("Recommendations"))

    def _ended_batches(self) -> None:
        """Declined, expired and canceled, so their connections can be planned again."""
        approver = person_actor(person=Person.objects.get(username="approver"))
        declined = self._request(self._plan("Lending EU"))
        decisions.decline_batch(batch=declined, actor=approver, reason=LONG_REASON)
        expired = self._request(self._plan("Lending EU"))
        Batch.objects.filter(pk=expired.pk).update(expires_at=clock.now())
        endings.end_due(actor=WORKER)
        canceled = self._request(self._plan("Recommendations"))
        stopping.cancel_batch(batch=canceled, actor=self.operator)

    def _plan(self, org: str) -> Batch:
        [known] = [each for each in list_known_orgs(actor=self.operator) if each.name == org]
        return drafts.create_draft_from_org(actor=self.operator, org=known)

    def _request(self, batch: Batch) -> Batch:
        requesting.request_batch(
            batch=batch,
            actor=self.operator,
            reason=LONG_REASON,
            ticket="SEC-212",
            digest=batch.digest,
            confirmation=confirming.text_to_type(batch),
        )
        return batch

    def protection(self) -> None:
        """A protection of a connection that no sync has listed."""
        site = Credential.objects.earliest("created_at").site
        key = OrgConnectionKey(site=site, connection_id=NEVER_LISTED)
        reason = "The insurer's contract says that it stays."
        protections.protect_connection(actor=self.administrator, key=key, reason=reason)

    def credentials(self) -> None:
        """A credential that was never verified, a retired one, and one that fails since today."""
        manager = person_actor(person=Person.objects.get(username="credentials"))
        site = Credential.objects.get(name="Labs").site
        self.world.set_fault(fault=faults.RETURNS_500, operation="validate", times=1)
        credential_lifecycle.add_credential(
            actor=manager,
            name="ML Platform (unreachable)",
            site=site,
            keys=KeyPair(api_key=Secret("a" * 32), application_key=Secret("b" * 40)),
        )
        org = next(org for org in self.world.orgs.values() if org.name == "Mobile")
        pair = self.world.add_key_pair(org=org)
        retired = credential_lifecycle.add_credential(
            actor=manager,
            name="Mobile (before the move)",
            site=site,
            keys=KeyPair(
                api_key=Secret(pair.api_key), application_key=Secret(pair.application_key)
            ),
        )
        retirement.retire_credential(actor=manager, credential=retired, confirmation=retired.name)
        [labs] = [pair for pair in self.world.key_pairs() if pair.org.name == "Labs"]
        self.world.revoke(labs)
        syncs.sync_orgs(actor=WORKER)

    def people(self) -> None:
        """A person who is invited, one who is disabled, one without a role, and two with MFA."""
        by = command_actor()
        for username, roles in (("invited", [Role.VIEWER]), ("left", [Role.APPROVER])):
            people.add_person(
                actor=by, username=username, email=f"{username}@example.com", roles=roles
            )
        people.add_person(actor=by, username="newcomer", email="newcomer@example.com", roles=[])
        for username in ("newcomer", "left"):
            person = Person.objects.get(username=username)
            people.set_password(
                actor=person_actor(person=person), person=person, password=settings.DEMO_PASSWORD
            )
        people.disable_person(actor=self.administrator, person=Person.objects.get(username="left"))
        approver = Person.objects.get(username="approver")
        set_up_app(approver, "JBSWY3DPEHPK3PXP")
        set_up_recovery_codes(approver)
        # It has a name and can't sign in, so it belongs to a person whose sign-in isn't tested.
        Authenticator.objects.create(
            user=Person.objects.get(username="auditor"),
            type=Authenticator.Type.WEBAUTHN,
            data={"name": "Blue key", "credential": {}},
        )

    def record(self) -> None:
        """An audit log signed with two keys in succession, and verified."""
        checkpoints.rotate_signing_key(actor=self.administrator)
        auditor = person_actor(person=Person.objects.get(username="auditor"))
        verification.verify_now(actor=auditor)

    def notices(self) -> None:
        """A notification in each state, about the last event of a deletion."""
        settled = AuditEvent.objects.filter(code=audit.EventCode.DELETION_SETTLED).order_by("-seq")
        results = {
            "waiting": ("The receiver returned 503.", 503, 2),
            "delivered": ("Accepted by the mail server (250)", 250, 1),
            "given_up": ("No response: timed out.", None, 6),
            "dropped": ("The person is disabled, or the address is no longer configured.", None, 1),
        }
        now = clock.now()
        for event, (state, (result, status, attempts)) in zip(
            settled[:4], results.items(), strict=True
        ):
            Notification.objects.create(
                code=event.code,
                event_seq=event.seq,
                subject_type=event.subject_type,
                subject_id=event.subject_id,
                channel="webhook" if state in {"waiting", "given_up"} else "mail",
                person=None if state in {"waiting", "given_up"} else self.operator.person,
                state=state,
                created_at=now,
                # Not before the pages have been opened.
                due_at=now + timedelta(days=1) if state == "waiting" else None,
                attempts=attempts,
                answered_at=now,
                status=status,
                result=result,
            )


def build(world: World) -> None:
    """Fill the empty database; the simulator that serves `world` must be running."""
    history.seed()
    builder = _Builder(world)
    builder.deletions()
    builder.batches()
    builder.protection()
    builder.credentials()
    builder.people()
    builder.record()
    builder.notices()


def save_world(world: World, path: Path) -> None:
    """Save what was changed in Datadog, for `load_world`."""
    world.save_state()
    path.write_bytes(pickle.dumps(world._saved_state))


def load_world(path: Path) -> World:
    """The demo's world as it was saved."""
    world = demo_world()
    world._saved_state = pickle.loads(path.read_bytes())  # noqa: S301 - written by this test run
    world.reset()
    return world

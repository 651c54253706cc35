"""The scenes of the demo's start page: what to try, as which person, and where."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from django.urls import reverse

from connections.core.text import format_limit
from connections.core.time_limits import CONFIRMING_WINDOW
from connections.inventory.sync_schedule import SYNC_INTERVAL
from connections.models import AccessReview, Credential, Deletion
from sandbox.demo_world import HIDDEN_FROM_KEY_PAIR, connection_id_between

OPERATOR = "operator"
APPROVER = "approver"
AUDITOR = "auditor"
CREDENTIAL_MANAGER = "credentials"

CHANGED = ("Labs", "ML Platform")


@dataclass(frozen=True, kw_only=True)
class ScriptedChange:
    """A change to a connection at the simulated Datadog, made when a visitor asks for it."""

    pair: tuple[str, str]
    # As in the simulator's control API.
    values: dict[str, Any]
    # What the page says after the change.
    message: str


# By the value that a step posts.
CHANGES = {
    "reviewed": ScriptedChange(
        pair=CHANGED,
        values={"connection_types": ["logs", "metrics", "audit"]},
        message="Labs → ML Platform now also shares audit events.",
    ),
    "widened": ScriptedChange(
        pair=("Fraud Detection", "Payments EU"),
        values={"connection_types": ["logs", "audit"]},
        message="Fraud Detection → Payments EU now also shares audit events.",
    ),
    "removed": ScriptedChange(
        pair=("Retail US", "Analytics"),
        values={"change": "remove"},
        message="Retail US → Analytics is gone.",
    ),
    "recreated": ScriptedChange(
        pair=("Analytics", "Retail US"),
        values={"change": "recreate", "after": 60},
        message="In one minute, Terraform recreates Analytics → Retail US, if it is deleted.",
    ),
    "disabled": ScriptedChange(
        pair=("Store Operations", "Retail US"),
        values={"change": "disable_creator"},
        message="Olga Sund's account is disabled.",
    ),
}

CONFIRM = "Review it, give a reason and confirm."


@dataclass(frozen=True)
class Step:
    """One thing to do. `label` is the button, which signs in as `person` and opens `path`.

    A step with a `change`, a key of CHANGES, changes the simulated Datadog instead.
    """

    text: str
    label: str
    person: str = ""
    path: str = ""
    change: str = ""


@dataclass(frozen=True)
class Scene:
    """One part of the product to try. `deletion` is the newest deletion of its connection."""

    title: str
    text: str
    steps: list[Step] = field(default_factory=list)
    deletion: Deletion | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """Scenes under one heading."""

    title: str
    scenes: list[Scene]


def list_groups() -> list[Group]:
    """All scenes, with steps that open pages matching what visitors have done so far."""
    return [
        Group(title="Delete a connection", scenes=list(_deleting())),
        Group(title="Many at once", scenes=list(_many())),
        Group(title="Changes outside Org Admin", scenes=list(_changing())),
        Group(title="Approvals", scenes=list(_approving())),
        Group(title="Records and evidence", scenes=list(_evidence())),
        Group(title="How Datadog can fail", scenes=list(_failures())),
    ]


def _deleting() -> Iterator[Scene]:
    yield _review_scene(
        "Labs",
        ("Labs", "Labs Staging"),
        title="Delete one connection",
        text="Type the org's name to confirm. Org Admin checks the connection again, sends one "
        "DELETE, and verifies that Datadog no longer lists the connection.",
    )
    change = Step(
        "Someone adds audit events to the connection in Datadog, after the last sync.",
        "Change it in Datadog",
        change="reviewed",
    )
    scene = _review_scene(
        "Labs",
        CHANGED,
        title="The connection changed after you reviewed it",
        text="The review still shows the older data types. The pre-send check sees the change, "
        "and nothing is sent.",
    )
    yield replace(scene, steps=[change, *scene.steps])
    yield _review_scene(
        "Retail US",
        ("Contact Center", "Retail US"),
        title="A protected connection",
        text="A Credential manager protected it, so no one can delete it here.",
        step="See what the review shows instead of a form.",
    )
    unknown = _newest(("Treasury", "Payments EU"))
    if unknown:
        yield Scene(
            "An unknown outcome",
            "The response to this DELETE was lost. Org Admin never resends it automatically; "
            "two complete syncs show whether it worked.",
            steps=[
                Step("Check Datadog's list now.", "Open the deletion", OPERATOR, _path_of(unknown))
            ],
            deletion=unknown,
        )


def _many() -> Iterator[Scene]:
    yield Scene(
        "Delete several connections",
        "A bulk deletion is a frozen plan: reviewed and confirmed once, recorded for each "
        "connection.",
        steps=[
            Step(
                "Select a few connections, plan the bulk deletion, and confirm their number.",
                "Open Connections",
                OPERATOR,
                reverse("org-connection-list"),
            )
        ],
    )
    for review in AccessReview.objects.filter(closed_at=None):
        yield Scene(
            "Decide in an access review",
            "Reviewers decide for each connection whether to keep or delete it.",
            steps=[
                Step(
                    "Press K to keep or D to delete; each decision needs a reason.",
                    "Open as a reviewer",
                    OPERATOR,
                    _path_of_review(review),
                ),
                Step(
                    "See the progress, and close it when everything is decided.",
                    "Open as the Auditor",
                    AUDITOR,
                    _path_of_review(review),
                ),
            ],
        )
    for review in AccessReview.objects.exclude(closed_at=None):
        yield Scene(
            "Hand a closed access review to an auditor",
            "Export its evidence bundle: who decided what, what was deleted, and which orgs "
            "were synced.",
            steps=[
                Step(
                    "Choose Export, then the evidence bundle.",
                    "Open as the Auditor",
                    AUDITOR,
                    _path_of_review(review),
                )
            ],
        )


def _changing() -> Iterator[Scene]:
    sync = Step(
        f"Sync now, or wait: the worker syncs each org within {format_limit(SYNC_INTERVAL)}.",
        "Open Connections",
        OPERATOR,
        reverse("org-connection-list"),
    )
    look = Step(
        "See what changed, and acknowledge it with a note.",
        "Open Changes",
        OPERATOR,
        f"{reverse('change-list')}?attention=yes&acknowledged=no",
    )
    for change, title, text, label in (
        (
            "removed",
            "Someone removes a connection outside Org Admin",
            "Retail US → Analytics is removed in Datadog.",
            "Remove it in Datadog",
        ),
        (
            "widened",
            "Someone widens a connection to audit events",
            "Fraud Detection → Payments EU shares logs; audit events are added.",
            "Widen it in Datadog",
        ),
        (
            "disabled",
            "The creator's account is disabled",
            "Olga Sund leaves. Datadog removes the connections of a disabled account.",
            "Disable the account",
        ),
    ):
        step = Step("Make this change in the simulated Datadog.", label, change=change)
        yield Scene(title, text, steps=[step, sync, look])
    scene = _review_scene(
        "Retail US",
        CHANGES["recreated"].pair,
        title="Someone recreates the connection that you deleted",
        text="Terraform still has it in its plan, so it comes back with another ID.",
    )
    recreate = Step(
        "Then let Terraform run in one minute.", "Recreate it in one minute", change="recreated"
    )
    yield replace(scene, steps=[*scene.steps, recreate, sync, look])


def _approving() -> Iterator[Scene]:
    confirm = "Confirm it, which sends the DELETE."
    waiting = _newest(("Partner Portal", "Group SOC"))
    if waiting:
        path = _path_of(waiting)
        review = "Review the facts, then approve or decline."
        yield Scene(
            "Approve someone else's request",
            "Group SOC's credential needs one approval by another person.",
            steps=[
                Step(review, "Open as the Approver", APPROVER, path),
                Step(confirm, "Open as the Operator", OPERATOR, path),
            ],
            deletion=waiting,
        )
    approved = _newest(("Insurance EU", "Group SOC"))
    if approved:
        yield Scene(
            "Confirm an approved deletion",
            f"The requester has {format_limit(CONFIRMING_WINDOW)} to confirm after the approval.",
            steps=[Step(confirm, "Open as the Operator", OPERATOR, _path_of(approved))],
            deletion=approved,
        )
    yield _review_scene(
        "Group SOC",
        ("Lending EU", "Group SOC"),
        title="Break glass",
        text="Request it, then send the DELETE without the missing approval. Approvers are "
        "notified, and another person must review it afterwards.",
        step="Give a reason and request the deletion. Its page then offers Break glass.",
    )


def _evidence() -> Iterator[Scene]:
    yield Scene(
        "See every org at once",
        "50 orgs on three sites. Six have no credential: they are known from the other side "
        "of their connections, or because Group SOC manages them.",
        steps=[
            Step(
                "See which orgs have no working credential.",
                "Open Orgs",
                OPERATOR,
                reverse("org-list"),
            ),
            Step(
                "See which org shares what with which other org.",
                "Open the matrix",
                OPERATOR,
                f"{reverse('org-connection-list')}?view=matrix",
            ),
            Step(
                "Robotics has a key pair and an access token. Only the token lists its "
                "connection to Mobile.",
                "Open that connection",
                OPERATOR,
                _path_of_connection(HIDDEN_FROM_KEY_PAIR),
            ),
        ],
    )
    yield Scene(
        "Find a past deletion",
        "Every deletion is kept, with its requester, reason and Datadog's response.",
        steps=[
            Step(
                "Filter by status, person, org or ticket.",
                "Open Deletions",
                AUDITOR,
                reverse("deletion-list"),
            )
        ],
    )
    yield Scene(
        "Verify the audit log offline",
        "An evidence bundle is a ZIP file that anyone can check with Python alone.",
        steps=[
            Step(
                "See the newest checkpoint and the last verification.",
                "Open Evidence",
                AUDITOR,
                reverse("evidence-detail"),
            ),
            Step(
                "Download a bundle, take verify.pyz out of it, and run python3 -I verify.pyz "
                "on it, with the fingerprint from Evidence.",
                "Create a bundle",
                AUDITOR,
                reverse("bundle-new"),
            ),
        ],
    )
    yield Scene(
        "Add a credential",
        "Org Admin checks a key pair before using it. The demo's own keys are already added; "
        "the simulator rejects any others.",
        steps=[
            Step(
                "Enter any two keys and see which check fails.",
                "Add a credential",
                CREDENTIAL_MANAGER,
                reverse("credential-new"),
            )
        ],
    )


def _failures() -> Iterator[Scene]:
    yield _review_scene(
        "Store Devices",
        ("Store Devices", "Security US"),
        title="Datadog returns 403: refused",
        text="The role of these keys can list connections, but not delete them.",
    )
    yield _review_scene(
        "Retail US",
        ("Data Lake", "Retail US"),
        title="Datadog returns 404: not found",
        text="This request deleted nothing, and the record says so.",
    )
    yield _review_scene(
        "Payments EU",
        ("Payments EU", "Partner Portal"),
        title="Datadog returns 429: rate limited",
        text="The worker sends the DELETE again once Datadog allows it.",
    )
    yield _review_scene(
        "Labs",
        ("Labs", "Search"),
        title="Datadog never responds",
        text="The outcome is unknown until two complete syncs agree. Nothing is sent again.",
    )


def _review_scene(
    credential: str, pair: tuple[str, str], *, title: str, text: str, step: str = CONFIRM
) -> Scene:
    connection_id = connection_id_between(source=pair[0], sink=pair[1])
    sender = Credential.objects.get(name=credential)
    return Scene(
        title,
        text,
        steps=[_review_step(sender, connection_id, text=step)],
        deletion=_newest_deletion(connection_id),
    )


def _review_step(credential: Credential, connection_id: str, *, text: str = CONFIRM) -> Step:
    query = urlencode({"credential": credential.pk, "connection_id": connection_id})
    return Step(text, "Open the review", OPERATOR, f"{reverse('deletion-confirm')}?{query}")


def _newest(pair: tuple[str, str]) -> Deletion | None:
    return _newest_deletion(connection_id_between(source=pair[0], sink=pair[1]))


def _newest_deletion(connection_id: str) -> Deletion | None:
    deletions = Deletion.objects.filter(connection_id=uuid.UUID(connection_id))
    return deletions.order_by("requested_at").last()


def _path_of_connection(pair: tuple[str, str]) -> str:
    connection_id = connection_id_between(source=pair[0], sink=pair[1])
    site = Credential.objects.get(name=pair[0]).site
    return reverse("org-connection-detail", args=[site, connection_id])


def _path_of_review(review: AccessReview) -> str:
    return reverse("access-review-detail", args=[review.pk])


def _path_of(deletion: Deletion) -> str:
    return reverse("deletion-detail", args=[deletion.pk])

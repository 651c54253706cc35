"""The scenes of the demo's start page: what to try, as which person, and where."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.urls import reverse

from connections.core.text import format_limit
from connections.models import (
    AccessRequest,
    AccessReview,
    Assignment,
    Credential,
    Deletion,
    RequestKind,
)
from orgadmin.demo import access_requests
from sandbox.demo_world import HIDDEN_FROM_KEY_PAIR, connection_id_between

OPERATOR = "operator"
APPROVER = "approver"
AUDITOR = "auditor"
VIEWER = "viewer"
CREDENTIAL_MANAGER = "credentials"

CHANGED = ("Labs", "ML Platform")
WITHOUT_AGREEMENT = ("Analytics", "Loyalty")
NOT_CONNECTED = ("Platform EU", "Risk Engine")
CREATED_BY_A_PERSON = ("Cards EU", "Observability EU")
DELETED = ("Labs Staging", "Labs")


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
    "recreated": ScriptedChange(
        pair=("Analytics", "Retail US"),
        values={"change": "recreate", "after": 60},
        message="In one minute, Terraform recreates Analytics → Retail US, if it is deleted.",
    ),
}

CONFIRM = "Give a reason and type the org's name."


@dataclass(frozen=True)
class SceneStep:
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
    """One part of the product to try, with the newest request that it is about."""

    title: str
    text: str
    steps: list[SceneStep] = field(default_factory=list)
    deletion: Deletion | None = None
    access_request: AccessRequest | None = None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One way in which Datadog can fail a DELETE, and what follows."""

    response: str
    pair: tuple[str, str]
    effect: str
    step: SceneStep
    deletion: Deletion | None


def delete_one() -> Scene:
    """The scene to try first."""
    return _confirm_scene(
        "Labs",
        ("Labs", "Labs Staging"),
        title="Delete a connection",
        text="Labs Staging can query the logs and metrics of Labs. Org Admin checks the connection "
        "again, sends one DELETE, and verifies that Datadog no longer lists it.",
    )


def list_scenes() -> list[Scene]:
    """What to try next, with steps that open pages matching what visitors have done so far."""
    return [
        *(_delete_many(), _approve(), _change_outside()),
        *_access_requests(),
        *(_review_access(), _agree(), _review_as_owner()),
        *_evidence(),
    ]


def list_more_scenes() -> list[Scene]:
    """Scenes for those who want to see everything."""
    return [
        *(_changed_meanwhile(), _resolve_unknown(), _break_glass(), _recreate(), _restore()),
        _move(),
        *_look_around(),
    ]


def _delete_many() -> Scene:
    return Scene(
        "Delete several connections",
        "A bulk deletion is a frozen plan: confirmed once, recorded for each connection.",
        steps=[_in_connections("Select a few connections and confirm their number.")],
    )


def _approve() -> Scene:
    waiting = _newest(("Partner Portal", "Group SOC"))
    return Scene(
        "Approve someone else's request",
        "Group SOC's credential needs one approval by another person.",
        steps=[
            SceneStep("Approve or decline.", "Open as the Approver", APPROVER, _path_of(waiting)),
            SceneStep(
                "Confirm it, which sends the DELETE.",
                "Open as the Operator",
                OPERATOR,
                _path_of(waiting),
            ),
        ],
        deletion=waiting,
    )


def _change_outside() -> Scene:
    step = SceneStep("Add audit events in the simulated Datadog.", "Change it", change="widened")
    return Scene(
        "Someone changes a connection in Datadog",
        "Fraud Detection → Payments EU shares logs.",
        steps=[step, _sync(), _see_changes()],
    )


def _access_requests() -> Iterator[Scene]:
    yield Scene(
        "Request access to another org's data",
        "Anyone who sees both orgs can request it. Requesting sends nothing to Datadog.",
        steps=[
            SceneStep(
                "Choose data types, and say who answers for it, what it is for and until when.",
                "Open as the Viewer",
                VIEWER,
                _access_form(RequestKind.CREATE, NOT_CONNECTED),
            ),
            SceneStep(
                "Find it, and confirm it. This sends a POST, which creates the connection.",
                "Open as the Operator",
                OPERATOR,
                f"{reverse('access-request-list')}?status=requested",
            ),
        ],
    )
    to_approve = _newest_access_request(access_requests.TO_APPROVE)
    yield Scene(
        "Approve access to your org's data",
        "Risk Engine wants to query Group SOC's logs. Group SOC requires one approval.",
        steps=[
            SceneStep(
                "Approve or decline.", "Open as the Approver", APPROVER, _page_of(to_approve)
            ),
            SceneStep(
                "Confirm it, which sends the POST.",
                "Open as the Operator",
                OPERATOR,
                _page_of(to_approve),
            ),
        ],
        access_request=to_approve,
    )
    to_confirm = _newest_access_request(access_requests.TO_CONFIRM)
    yield Scene(
        "Confirm more data types",
        "The Viewer requested that Catalog can also query Pricing's logs. No approval is required.",
        steps=[
            SceneStep(
                "Confirm it, which sends one PATCH.",
                "Open as the Operator",
                OPERATOR,
                _page_of(to_confirm),
            ),
        ],
        access_request=to_confirm,
    )
    ends_today = _newest_access_request(access_requests.ENDS_TODAY)
    yield Scene(
        "Access that ends today",
        "Open Banking can query Group SOC's metrics until today (UTC), as approved. Then Org Admin "
        "deletes the connection.",
        steps=[
            SceneStep(
                "See who approved it and until when.",
                "Open as the Operator",
                OPERATOR,
                _page_of(ends_today),
            ),
            SceneStep(
                "Request a later end, if it is still needed.",
                "Extend it",
                VIEWER,
                _access_form(RequestKind.EXTEND, access_requests.ENDS_TODAY),
            ),
        ],
        access_request=ends_today,
    )


def _restore() -> Scene:
    deletion = _newest(DELETED)
    return Scene(
        "Restore a deleted connection",
        "A deletion can't be undone exactly: the connection gets a new ID and a new creator.",
        steps=[
            SceneStep(
                "Choose Restore… on the deletion's page.",
                "Open the deletion",
                OPERATOR,
                _path_of(deletion),
            ),
            SceneStep(
                f"{' → '.join(access_requests.RESTORED)} has been restored already.",
                "Open that access request",
                OPERATOR,
                _page_of(_newest_access_request(access_requests.RESTORED)),
            ),
        ],
        deletion=deletion,
    )


def _move() -> Scene:
    source, sink = CREATED_BY_A_PERSON
    return Scene(
        "Move a connection to a service account",
        "Datadog deletes a connection when its creator's account is deactivated.",
        steps=[
            SceneStep(
                f"Tom Aldridge's account is disabled, and he created {source} → {sink}. Move it, "
                "which sends a DELETE and then a POST.",
                "Open as the Operator",
                OPERATOR,
                _access_form(RequestKind.MOVE, CREATED_BY_A_PERSON),
            ),
            SceneStep(
                f"{' → '.join(access_requests.MOVED)} has been moved already.",
                "Open that access request",
                OPERATOR,
                _page_of(_newest_access_request(access_requests.MOVED)),
            ),
        ],
    )


def _review_access() -> Scene:
    review = AccessReview.objects.filter(assignment=Assignment.REVIEWERS).latest("created_at")
    return Scene(
        "Decide in an access review",
        "Reviewers decide for each connection whether to keep or delete it.",
        steps=[
            SceneStep(
                "Press K to keep or D to delete; each decision needs a reason.",
                "Open as a reviewer",
                OPERATOR,
                reverse("access-review-detail", args=[review.pk]),
            ),
        ],
    )


def _agree() -> Scene:
    return Scene(
        "Say who answers for a connection",
        "An agreement names the owner, the purpose, the data types and the end of one org's access "
        "to another's data. Nearly every connection has one.",
        steps=[
            SceneStep(
                "Select the connections that aren't agreed, and set their owner and purpose.",
                "Open as the Operator",
                OPERATOR,
                reverse("agreement-list"),
            ),
        ],
    )


def _review_as_owner() -> Scene:
    review = AccessReview.objects.filter(assignment=Assignment.OWNERS).latest("created_at")
    path = reverse("access-review-detail", args=[review.pk])
    source, sink = WITHOUT_AGREEMENT
    row = review.rows.filter(source_org_name=source, sink_org_name=sink).first()
    position = row.position if row else 0
    form = f"{path}?select=row-{position}&decision=keep#row-{position}"
    return Scene(
        "Let owners decide in an access review",
        "The owner that the agreement names, or else the owner of the source org, decides on each "
        "connection. Org Admin starts the same access review again every month.",
        steps=[
            SceneStep(
                "Decide on the connections that you own.",
                "Open as an owner",
                OPERATOR,
                f"{path}?show=yours",
            ),
            SceneStep(
                "The Approver owns other connections.",
                "Open as another owner",
                APPROVER,
                f"{path}?show=yours",
            ),
            SceneStep(
                f"{source} → {sink} has no agreement. Keep it, and set its owner and purpose in "
                "the same form: open “Set what the selected agreements lack”.",
                "Open that connection",
                OPERATOR,
                form,
            ),
        ],
    )


def _changed_meanwhile() -> Scene:
    change = SceneStep(
        "Someone adds audit events in Datadog, after the last sync.",
        "Change it in Datadog",
        change="reviewed",
    )
    scene = _confirm_scene(
        "Labs",
        CHANGED,
        title="The connection changed after you looked at it",
        text="The page still shows the older data types. The pre-send check sees the change, "
        "and nothing is sent.",
    )
    return replace(scene, steps=[change, *scene.steps])


def _resolve_unknown() -> Scene:
    unknown = _newest(("Treasury", "Payments EU"))
    return Scene(
        "An unknown outcome",
        "The response to this DELETE was lost. Org Admin never resends it automatically; "
        "two complete syncs show whether it worked.",
        steps=[
            SceneStep("Check Datadog's list now.", "Open the deletion", OPERATOR, _path_of(unknown))
        ],
        deletion=unknown,
    )


def _break_glass() -> Scene:
    return _confirm_scene(
        "Group SOC",
        ("Lending EU", "Group SOC"),
        title="Break glass",
        text="Request it, then send the DELETE without the missing approval. Approvers are "
        "notified, and another person must approve it afterwards.",
        step="Give a reason and request the deletion. Its page then offers Break glass.",
    )


def _recreate() -> Scene:
    scene = _confirm_scene(
        "Retail US",
        CHANGES["recreated"].pair,
        title="Someone recreates the connection that you deleted",
        text="Terraform still has it in its plan, so it comes back with another ID.",
    )
    recreate = SceneStep(
        "Then let Terraform run in one minute.", "Recreate it in one minute", change="recreated"
    )
    return replace(scene, steps=[*scene.steps, recreate, _sync(), _see_changes()])


def _sync() -> SceneStep:
    limit = format_limit(settings.SYNC_INTERVAL)
    return _in_connections(f"Sync now, or wait: the worker syncs each org within {limit}.")


def _in_connections(text: str) -> SceneStep:
    return SceneStep(text, "Open Connections", OPERATOR, reverse("org-connection-list"))


def _see_changes() -> SceneStep:
    return SceneStep(
        "See what changed, and acknowledge it with a note.",
        "Open Changes",
        OPERATOR,
        f"{reverse('change-list')}?attention=yes&acknowledged=no",
    )


def _evidence() -> Iterator[Scene]:
    yield Scene(
        "Find a past deletion",
        "Every deletion is kept, with its requester, reason and Datadog's response.",
        steps=[
            SceneStep(
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
            SceneStep(
                "See the newest checkpoint and the last verification.",
                "Open Evidence",
                AUDITOR,
                reverse("evidence-detail"),
            ),
            SceneStep(
                "Download a bundle, take verify.pyz out of it, and run python3 -I verify.pyz "
                "on it, with the fingerprint from Evidence.",
                "Create a bundle",
                AUDITOR,
                reverse("bundle-new"),
            ),
        ],
    )


def _look_around() -> Iterator[Scene]:
    yield Scene(
        "See every org at once",
        "50 orgs on 3 sites. 6 have no credential: they are known from other orgs' "
        "connections, or because Group SOC manages them.",
        steps=[
            SceneStep(
                "See which orgs have no working credential.",
                "Open Orgs",
                OPERATOR,
                reverse("org-list"),
            ),
            SceneStep(
                "See which org shares what with which other org.",
                "Open the matrix",
                OPERATOR,
                f"{reverse('org-connection-list')}?view=matrix",
            ),
            SceneStep(
                "Robotics has a key pair and an access token. Only the token lists its "
                "connection to Mobile.",
                "Open that connection",
                OPERATOR,
                _path_of_connection(HIDDEN_FROM_KEY_PAIR),
            ),
        ],
    )
    yield Scene(
        "Add a credential",
        "Org Admin checks a key pair before using it. The demo's own keys are already added; "
        "the simulator rejects any others.",
        steps=[
            SceneStep(
                "Enter any two keys and see which check fails.",
                "Add a credential",
                CREDENTIAL_MANAGER,
                reverse("credential-new"),
            )
        ],
    )


def list_failures() -> Iterator[Failure]:
    """How Datadog can fail, each with a connection for which the simulator does it."""
    for response, credential, pair, effect in (
        (
            "403",
            "Store Devices",
            ("Store Devices", "Security US"),
            "These keys can list connections, but not delete them.",
        ),
        (
            "404",
            "Retail US",
            ("Data Lake", "Retail US"),
            "This request deleted nothing, and the record says so.",
        ),
        (
            "429",
            "Payments EU",
            ("Payments EU", "Partner Portal"),
            "The worker sends the DELETE again once Datadog allows it.",
        ),
        (
            "No response",
            "Labs",
            ("Labs", "Search"),
            "The outcome is unknown until two complete syncs agree. Nothing is sent again.",
        ),
    ):
        scene = _confirm_scene(credential, pair, title="", text="")
        [step] = scene.steps
        yield Failure(
            response=response, pair=pair, effect=effect, step=step, deletion=scene.deletion
        )


def _confirm_scene(
    credential: str, pair: tuple[str, str], *, title: str, text: str, step: str = CONFIRM
) -> Scene:
    connection_id = connection_id_between(source=pair[0], sink=pair[1])
    sender = Credential.objects.get(name=credential)
    return Scene(
        title,
        text,
        steps=[_confirm_step(sender, connection_id, text=step)],
        deletion=_newest_deletion(connection_id),
    )


def _confirm_step(credential: Credential, connection_id: str, *, text: str = CONFIRM) -> SceneStep:
    query = urlencode({"credential": credential.pk, "connection_id": connection_id})
    return SceneStep(
        text, "Open the confirmation page", OPERATOR, f"{reverse('deletion-confirm')}?{query}"
    )


def _newest(pair: tuple[str, str]) -> Deletion:
    """The newest deletion of a connection that the demo's history requests."""
    connection_id = uuid.UUID(connection_id_between(source=pair[0], sink=pair[1]))
    return Deletion.objects.filter(connection_id=connection_id).latest("requested_at")


def _newest_deletion(connection_id: str) -> Deletion | None:
    deletions = Deletion.objects.filter(connection_id=uuid.UUID(connection_id))
    return deletions.order_by("requested_at").last()


def _path_of_connection(pair: tuple[str, str]) -> str:
    connection_id = connection_id_between(source=pair[0], sink=pair[1])
    site = Credential.objects.get(name=pair[0]).site
    return reverse("org-connection-detail", args=[site, connection_id])


def _path_of(deletion: Deletion) -> str:
    return reverse("deletion-detail", args=[deletion.pk])


def _access_form(kind: RequestKind, names: tuple[str, str]) -> str:
    pair = access_requests.pair_between(names)
    orgs = {
        "source": f"{pair.site}/{pair.source_org_id}",
        "destination": f"{pair.site}/{pair.sink_org_id}",
    }
    return f"{reverse('access-request-new')}?{urlencode({'kind': kind, **orgs})}"


def _newest_access_request(names: tuple[str, str]) -> AccessRequest:
    """The newest access request of a pair for which the demo's history requests access."""
    pair = access_requests.pair_between(names)
    return AccessRequest.objects.filter(**pair._asdict()).latest("requested_at")


def _page_of(access_request: AccessRequest) -> str:
    return reverse("access-request-detail", args=[access_request.pk])

"""Every page by its URL name, and the person who opens it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from allauth.mfa.models import Authenticator
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from django.utils.http import urlencode

from connections.models import (
    AccessRequest,
    AccessReview,
    AccessReviewState,
    Assignment,
    Batch,
    BatchState,
    Credential,
    Deletion,
    Org,
    OrgConnectionSnapshot,
    Person,
    RequestKind,
)

# The id of a connection that is protected, and that no sync has ever listed.
NEVER_LISTED = UUID("0b7e3c1a-0000-4000-8000-00000000beef")


@dataclass(frozen=True, kw_only=True)
class Listed:
    """One page: its address once the data exists, who is signed in, and the expected status."""

    slug: str
    name: str
    path: Callable[[], str]
    who: str | None = "administrator"
    status: int = 200
    is_fresh: bool = False  # in a service that no one has used yet


def _page(name: str, slug: str = "", query: dict[str, str] | None = None, **kwargs: Any) -> Listed:
    find = kwargs.pop("find", None)

    def path() -> str:
        target = reverse(name, args=find() if find else [])
        return f"{target}?{urlencode(query)}" if query else target

    return Listed(slug=slug or name, name=name, path=path, **kwargs)


def _credential(name: str) -> Callable[[], list[Any]]:
    # The oldest one with that name. A retired credential has a longer name.
    return lambda: [Credential.objects.filter(name__startswith=name).earliest("created_at").pk]


def _person(username: str) -> Callable[[], list[Any]]:
    return lambda: [Person.objects.get(username=username).pk]


def _connection(source: str, sink: str) -> Callable[[], list[Any]]:
    def find() -> list[Any]:
        seen = OrgConnectionSnapshot.objects.filter(source_org_name=source, sink_org_name=sink)
        one = seen.order_by("pk").last()
        assert one
        return [one.site, one.connection_id]

    return find


def _agreement_form() -> str:
    keys = [
        _connection(*pair)() for pair in (("Retail US", "Loyalty"), ("Payments EU", "Claims EU"))
    ]
    names = [("connection", f"{site}/{connection_id}") for site, connection_id in keys]
    return f"{reverse('agreement-form')}?{urlencode(names)}"


def _org(name: str) -> Callable[[], list[Any]]:
    def find() -> list[Any]:
        one = Org.objects.filter(name=name).earliest("pk")
        return [one.site, one.org_id]

    return find


def _org_details() -> str:
    names = [("org", "/".join(_org(name)())) for name in ("Payments EU", "Group SOC")]
    return f"{reverse('org-details')}?{urlencode(names)}"


def _org_without_credential() -> list[Any]:
    known = Credential.objects.values("org_id")
    one = Org.objects.exclude(org_id__in=known).earliest("pk")
    return [one.site, one.org_id]


def _deletion(**wanted: Any) -> Callable[[], list[Any]]:
    def find() -> list[Any]:
        one = Deletion.objects.filter(**wanted).order_by("requested_at").first()
        assert one, wanted
        return [one.pk]

    return find


def _batch(slug: str, *, who: str, state: BatchState) -> Listed:
    return _page(
        "batch-detail",
        f"batch-{slug}",
        find=lambda: [Batch.objects.filter(state=state).earliest("created_at").pk],
        who=who,
    )


def _access_request(slug: str, kind: RequestKind, *, who: str) -> Listed:
    return _page(
        "access-request-detail",
        f"access-request-{slug}",
        find=lambda: [AccessRequest.objects.get(kind=kind).pk],
        who=who,
    )


def _access_form(kind: RequestKind) -> Listed:
    def path() -> str:
        # A deletion that can be restored, or access that has an end.
        restored = Deletion.objects.filter(
            source_org_name="Labs Staging", outcome="deleted"
        ).first()
        of_kind = AccessRequest.objects.get(kind=RequestKind.EXTEND)
        one = restored if kind == RequestKind.RESTORE and restored else of_kind
        orgs = {
            "source": f"{one.site}/{one.source_org_id}",
            "destination": f"{one.site}/{one.sink_org_id}",
        }
        deletion = {"deletion": str(one.pk)} if one == restored else {}
        return f"{reverse('access-request-new')}?{urlencode({'kind': kind, **orgs, **deletion})}"

    return Listed(slug=f"access-{kind}", name="access-request-new", path=path, who="operator")


SELECTED_ROW = {"show": "to-decide", "select": "row-16", "decision": "keep"}
# The row of a connection without an agreement.
WITHOUT_AGREEMENT = {"select": "row-1", "decision": "keep"}
BY_CREATOR = {"show": "to-decide", "sort": "creator"}


def _review(
    state: AccessReviewState, assignment: Assignment = Assignment.REVIEWERS
) -> Callable[[], list[Any]]:
    return lambda: [AccessReview.objects.get(state=state, assignment=assignment).pk]


def _access_review(
    slug: str,
    *,
    who: str,
    state: AccessReviewState = AccessReviewState.OPEN,
    assignment: Assignment = Assignment.REVIEWERS,
    query: dict[str, str] | None = None,
) -> Listed:
    return _page(
        "access-review-detail",
        f"access-review-{slug}",
        query,
        find=_review(state, assignment),
        who=who,
    )


def _detail(slug: str, *, who: str = "operator", **wanted: Any) -> Listed:
    return _page("deletion-detail", f"deletion-{slug}", find=_deletion(**wanted), who=who)


def _confirmation(slug: str, sender: str, *, source: str = "", sink: str = "", who: str) -> Listed:
    def path() -> str:
        connection_id = "0b7e3c1a-0000-4000-8000-0000000000aa"
        if source:
            connection_id = str(_connection(source, sink)()[1])
        credential = Credential.objects.get(name=sender).pk
        query = urlencode({"credential": str(credential), "connection_id": connection_id})
        return f"{reverse('deletion-confirm')}?{query}"

    return Listed(slug=f"confirm-{slug}", name="deletion-confirm", path=path, who=who)


OURS = [
    _page("overview", who="operator"),
    _page("overview", "overview-approver", who="approver"),
    _page("overview", "overview-fresh", is_fresh=True),
    _page("overview", "overview-fresh-viewer", is_fresh=True, who="viewer"),
    _page("sign-in-link", who=None),
    _page("credential-new", who="credentials"),
    _page("credential-import", who="credentials"),
    _page("credential-detail", find=_credential("Payments EU"), who="credentials"),
    _page("credential-detail", "credential-detail-administrator", find=_credential("Group SOC")),
    _page("credential-detail", "credential-failing", find=_credential("Labs"), who="credentials"),
    _page(
        "credential-detail",
        "credential-never-verified",
        find=_credential("ML Platform (unreachable)"),
    ),
    _page("credential-detail", "credential-retired", find=_credential("Mobile (before the move)")),
    _page("credential-rotate", find=_credential("Retail US"), who="credentials"),
    _page("credential-retire", find=_credential("Retail US"), who="credentials"),
    _page("credential-retire", "credential-retire-blocked", find=_credential("Payments EU")),
    _page("credential-access", find=_credential("Retail US")),
    _page("org-connection-list", who="operator"),
    _page("org-connection-list", "org-connection-list-found", {"q": "lake"}, who="operator"),
    _page("org-connection-list", "org-connection-list-none", {"q": "nowhere"}, who="viewer"),
    _page("org-connection-list", "org-connection-list-fresh", is_fresh=True),
    _page(
        "org-connection-detail", find=_connection("Payments EU", "Fraud Detection"), who="operator"
    ),
    _page(
        "org-connection-detail",
        "org-connection-deleted",
        find=_connection("Payments EU", "Claims EU"),
        who="operator",
    ),
    _page(
        "org-connection-detail",
        "org-connection-protected",
        find=_connection("Contact Center", "Retail US"),
        who="approver",
    ),
    _page(
        "org-connection-detail",
        "org-connection-unknown",
        find=lambda: [Credential.objects.earliest("created_at").site, NEVER_LISTED],
    ),
    _page("org-connection-protect", who="operator"),
    _page(
        "org-connection-unprotect", find=_connection("Contact Center", "Retail US"), who="approver"
    ),
    _page("change-list", who="operator"),
    _page("change-list", "change-list-viewer", who="viewer"),
    _page("change-list", "change-list-none", {"q": "nowhere"}, who="operator"),
    _page("change-list", "change-list-fresh", is_fresh=True),
    _page("agreement-list", who="operator"),
    _page("agreement-list", "agreement-list-approver", {"needs": "you"}, who="approver"),
    _page("agreement-list", "agreement-list-none", {"q": "nowhere"}, who="viewer"),
    _page("agreement-list", "agreement-list-ended", {"reason": "ended"}, who="operator"),
    _page("agreement-import", who="operator"),
    Listed(slug="agreement-form", name="agreement-form", path=_agreement_form, who="operator"),
    _page("org-connection-list", "org-connection-matrix", {"view": "matrix"}, who="operator"),
    _page("org-list", who="administrator"),
    _page("org-list", "org-list-none", {"q": "nowhere"}, who="viewer"),
    _page("org-list", "org-list-fresh", is_fresh=True),
    _page("org-import", who="operator"),
    Listed(slug="org-details", name="org-details", path=_org_details, who="operator"),
    _page("org-detail", find=_org("Payments EU"), who="operator"),
    _page("org-detail", "org-detail-without-credential", find=_org_without_credential),
    _page("deletion-list", who="operator"),
    _page("deletion-list", "deletion-chart", {"view": "chart"}, who="operator"),
    _page("deletion-list", "deletion-list-found", {"q": "contract"}, who="auditor"),
    _page("deletion-list", "deletion-list-none", {"q": "nothing like it"}, who="operator"),
    _page("deletion-list", "deletion-list-fresh", is_fresh=True, who="operator"),
    _page("deletion-confirm", "deletion-choose", who="operator"),
    _confirmation(
        "listed", "Payments EU", source="Payments EU", sink="Fraud Detection", who="operator"
    ),
    _confirmation("new-type", "Retail US", source="Retail US", sink="Loyalty", who="operator"),
    _confirmation("not-listed", "Payments EU", who="operator"),
    _confirmation(
        "approval", "Group SOC", source="Fraud Detection", sink="Group SOC", who="operator"
    ),
    _confirmation("ended", "Labs", source="Labs Staging", sink="Labs", who="operator"),
    _confirmation("open", "Group SOC", source="Partner Portal", sink="Group SOC", who="operator"),
    _detail("deleted", outcome="deleted", verified_at__isnull=False),
    _detail("contradicted", contradicted_at__isnull=False),
    _detail("not-found", outcome="already_absent", cause="not_found"),
    _detail("already-gone", outcome="already_absent", cause="absent_when_read"),
    _detail("gone", outcome="gone_unattributed"),
    _detail("refused-400", cause="bad_request"),
    _detail("refused-401", cause="unauthorized"),
    _detail("refused-403", cause="forbidden"),
    _detail("not-sent", outcome="not_sent"),
    _detail("changed", outcome="stale"),
    _detail("declined", outcome="declined"),
    _detail("withdrawn", outcome="withdrawn"),
    _detail("expired", outcome="expired"),
    _detail("unresolved", outcome="unresolved"),
    _detail("requested", state="requested"),
    _detail("glass-broken", break_glass_at__isnull=False),
    _detail("late-approval", break_glass_at__isnull=False, who="approver"),
    _detail("to-approve", state="requested", who="approver"),
    _detail("approved", state="approved"),
    _detail("sending", state="sending"),
    _detail("waiting", state="waiting"),
    _detail("unknown", state="unknown"),
    _detail("still-present", state="still_present"),
    _detail("still-present-viewer", state="still_present", who="viewer"),
    _page("access-request-list", who="operator"),
    _page("access-request-list", "access-request-list-fresh", is_fresh=True, who="viewer"),
    _page("access-request-new", "access-request-choose", who="viewer"),
    _access_form(RequestKind.CHANGE),
    _access_form(RequestKind.EXTEND),
    _access_form(RequestKind.RESTORE),
    _access_form(RequestKind.MOVE),
    _access_request("to-approve", RequestKind.CREATE, who="approver"),
    _access_request("requested", RequestKind.CREATE, who="viewer"),
    _access_request("to-confirm", RequestKind.CHANGE, who="operator"),
    _access_request("extended", RequestKind.EXTEND, who="operator"),
    _access_request("restored", RequestKind.RESTORE, who="operator"),
    _access_request("moved", RequestKind.MOVE, who="operator"),
    _page("batch-list", who="operator"),
    _page("batch-list", "batch-list-fresh", is_fresh=True, who="operator"),
    _batch("plan", state=BatchState.DRAFT, who="operator"),
    _batch("plan-viewer", state=BatchState.DRAFT, who="viewer"),
    _batch("approval", state=BatchState.REQUESTED, who="approver"),
    _batch("requested", state=BatchState.REQUESTED, who="operator"),
    _batch("progress", state=BatchState.RUNNING, who="operator"),
    _batch("finished", state=BatchState.FINISHED, who="operator"),
    _batch("paused", state=BatchState.PAUSED, who="operator"),
    _batch("declined", state=BatchState.DECLINED, who="operator"),
    _batch("expired", state=BatchState.EXPIRED, who="viewer"),
    _batch("canceled", state=BatchState.CANCELLED, who="operator"),
    _page("access-review-list", who="operator"),
    _page("access-review-list", "access-review-list-fresh", is_fresh=True),
    _page("access-review-new", query={"scope": "type=audit"}, who="auditor"),
    _access_review("open", who="operator"),
    _access_review("creators", who="operator", query=BY_CREATOR),
    _access_review("selected", who="operator", query=SELECTED_ROW),
    _access_review("owners", who="operator", assignment=Assignment.OWNERS, query=WITHOUT_AGREEMENT),
    _access_review("manager", who="auditor"),
    _access_review("closed", state=AccessReviewState.CLOSED, who="auditor"),
    _page(
        "access-review-reviewers",
        find=_review(AccessReviewState.OPEN),
        who="auditor",
    ),
    _page(
        "access-review-close",
        find=_review(AccessReviewState.OPEN),
        who="auditor",
    ),
    _page("search", query={"q": "labs → rob"}, who="operator"),
    _page("search", "search-ticket", {"q": "ops-42"}),
    _page("search", "search-none", {"q": "nowhere"}, who="viewer"),
    _page("settings", who="operator"),
    _page("settings-status"),
    _page("hold"),
    _page("person-list"),
    _page("person-new"),
    _page("person-detail", find=_person("operator")),
    _page("person-detail", "person-with-second-factor", find=_person("approver")),
    _page("person-detail", "person-disabled", find=_person("left")),
    _page("person-detail", "person-invited", find=_person("invited")),
    _page("session-list", who="operator"),
    _page("api-token-list", who="operator"),
    _page("person-token-list"),
    _page("shortcuts", who="operator"),
    _page("notification-list"),
    _page("notification-list", "notification-list-none", {"state": "dropped"}),
    _page("notification-list", "notification-list-fresh", is_fresh=True),
    _page("audit-list", who="auditor"),
    _page("audit-list", "audit-list-found", {"code": "deletion.", "q": "go"}, who="auditor"),
    _page("audit-list", "audit-list-none", {"q": "nothing like it"}, who="auditor"),
    _page("audit-detail", find=lambda: [1], who="auditor"),
    _page("evidence-detail", who="auditor"),
    _page("evidence-detail", "evidence-fresh", is_fresh=True),
    _page("bundle-new", who="auditor"),
    _page(
        "bundle-new", "bundle-new-filtered", {"status": "refused", "period": "90"}, who="auditor"
    ),
    _page("audit-list", "audit-list-refused", who="viewer", status=403),
    _page("person-list", "overview-no-role", who="newcomer", status=403),
    Listed(slug="not-found", name="", path=lambda: "/nowhere/", who="viewer", status=404),
]

ALLAUTH = [
    _page("account_login", who=None),
    _page("account_logout", who="operator"),
    _page("account_inactive", who=None),
    _page("account_change_password", who="operator"),
    _page("account_reset_password", who=None),
    _page("account_reset_password_done", who=None),
    _page("account_reset_password_from_key", find=lambda: ["abc", "def"], who=None),
    _page("account_reset_password_from_key_done", who=None),
    _page("mfa_index", who="operator"),
    _page("mfa_index", "mfa_index-set-up", who="approver"),
    _page("mfa_activate_totp", who="operator"),
    _page("mfa_deactivate_totp", who="approver"),
    _page("mfa_view_recovery_codes", who="approver"),
    _page("mfa_generate_recovery_codes", who="approver"),
    _page("mfa_list_webauthn", who="auditor"),
    _page("mfa_list_webauthn", "mfa_list_webauthn-none", who="operator"),
    _page("mfa_add_webauthn", who="operator"),
    _page("mfa_edit_webauthn", find=lambda: [_passkey()], who="auditor"),
    _page("mfa_remove_webauthn", find=lambda: [_passkey()], who="auditor"),
]

PAGES = OURS + ALLAUTH

# Why each of these has no entry above.
NOT_PAGES = {
    "credential-list": "redirects to the orgs",
    "next-item": "redirects to what needs the person",
    "setup": "walked in its own test: it is open only while there is no person",
    "mfa_authenticate": "walked in its own test: it follows a password",
    "account_reauthenticate": "reauthentication",
    "mfa_reauthenticate": "leads to reauthentication",
    "mfa_reauthenticate_webauthn": "leads to reauthentication",
    "reauthentication": "walked in its own test: it is asked only after five minutes",
    "reauthentication-passkey": "JSON",
    "access-request-approve": "POST",
    "api-token-revoke": "POST",
    "access-request-close": "POST",
    "access-request-decline": "POST",
    "access-request-execute": "POST",
    "access-request-export": "a file",
    "access-request-reconcile": "POST",
    "access-request-withdraw": "POST",
    "access-review-decide": "POST",
    "access-review-export": "a file",
    "access-review-plan": "POST",
    "access-review-owner": "POST",
    "access-review-repeat": "POST",
    "batch-approve": "POST",
    "batch-cancel": "POST",
    "batch-credential": "POST",
    "batch-decline": "POST",
    "batch-execute": "POST",
    "batch-export": "a file",
    "batch-pause": "POST",
    "batch-remove": "POST",
    "batch-request": "POST",
    "batch-resume": "POST",
    "batch-split": "POST",
    "appearance-set": "POST",
    "credential-verify": "POST",
    "credential-rename": "POST",
    "credential-policy": "POST",
    "credential-creator": "POST",
    "org-connection-refresh": "POST",
    "org-connection-export": "a file",
    "deletion-export": "a file",
    "audit-export": "a file",
    "change-acknowledge": "POST",
    "problem-acknowledge": "POST",
    "change-emails-set": "POST",
    "only-alerts-set": "POST",
    "change-acknowledge-many": "POST",
    "change-export": "a file",
    "agreement-export": "a file",
    "agreement-accept": "POST",
    "agreement-refuse": "POST",
    "deletion-comment": "POST",
    "deletion-execute": "POST",
    "deletion-approve": "POST",
    "deletion-decline": "POST",
    "deletion-break-glass": "POST",
    "deletion-late-approval": "POST",
    "deletion-withdraw": "POST",
    "deletion-reconcile": "POST",
    "deletion-close": "POST",
    "person-roles": "POST",
    "person-break-glass": "POST",
    "person-disable": "POST",
    "person-enable": "POST",
    "person-link": "POST",
    "person-email": "POST",
    "person-sessions-end": "POST",
    "person-provider": "POST",
    "provider-start": "leads to the provider",
    "provider-reauthentication": "leads to the provider",
    "provider-connect-start": "leads to the provider",
    "provider-callback": "walked in its own test: a provider leads to it",
    "provider-renewal": "leads to the provider",
    "provider-signed-out": "shown after a sign-out: there must be a provider",
    "provider-account": "walked in its own test: there must be a provider",
    "session-end": "POST",
    "evidence-verify": "POST",
    "hold-release": "POST",
    "checkpoint-download": "a file",
    "notification-test": "POST",
    "notification-retry": "POST",
    "metrics": "plain text",
    "account_email": "not offered: 404",
    "account_set_password": "leads to account_change_password",
    "account_signup": "not offered: 404",
    "account_email_verification_sent": "not offered: 404",
    "account_confirm_email": "not offered: 404",
    "account_confirm_login_code": "not offered: 404",
    "mfa_download_recovery_codes": "a file",
    "mfa_login_webauthn": "JSON",
}


def _passkey() -> int:
    key: int = Authenticator.objects.get(type=Authenticator.Type.WEBAUTHN).pk
    return key


def names_of_urls() -> set[str]:
    """The names of all URLs of the product."""

    def walk(resolver: URLResolver) -> set[str]:
        names: set[str] = set()
        for entry in resolver.url_patterns:
            if isinstance(entry, URLPattern):
                names.add(entry.name or str(entry.pattern))
            else:
                names |= walk(entry)
        return names

    return walk(get_resolver())

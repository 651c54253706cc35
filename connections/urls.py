"""The table of contents, in the order a person walks."""

from django.urls import register_converter
from django.urls.converters import StringConverter

from connections.policies import (
    ADMINISTER,
    APPROVE,
    AUDIT,
    BREAK_GLASS,
    COMMENT,
    DELETE,
    EXPORT,
    MANAGE_CREDENTIALS,
    PROTECT,
    SEE,
    SEE_EVERYTHING,
    SYNC,
    UNPROTECT,
    WITHDRAW,
)
from connections.views import (
    accounts,
    approvals,
    audit,
    break_glass,
    bundles,
    credential_access,
    credential_keys,
    credentials,
    deletion_comments,
    deletions,
    evidence,
    health,
    history,
    notices,
    org_connections,
    overview,
    people,
    protections,
    provider_sign_in,
    sessions,
    step_up,
)
from connections.views.routing import Visitors, action, form_page, page


class SiteConverter(StringConverter):
    """What may be the name of a site; PostgreSQL could not even be asked for anything else."""

    regex = "[A-Za-z0-9._-]+"


register_converter(SiteConverter, "site")

urlpatterns = [
    page("", overview.overview_detail, name="overview", who=SEE),
    form_page("setup/", accounts.setup, name="setup", who=Visitors.ANYONE),
    form_page("sign-in/", accounts.sign_in_link, name="sign-in-link", who=Visitors.ANYONE),
    page(
        "sign-in/provider/",
        provider_sign_in.provider_start,
        name="provider-start",
        who=Visitors.ANYONE,
        needs_mfa=False,
    ),
    page(
        "sign-in/provider/again/",
        provider_sign_in.provider_step_up,
        name="provider-step-up",
        who=Visitors.SIGNED_IN,
        needs_mfa=False,
    ),
    page(
        "sign-in/provider/connect/",
        provider_sign_in.provider_connect_start,
        name="provider-connect-start",
        who=Visitors.SIGNED_IN,
        needs_mfa=False,
    ),
    page(
        "sign-in/provider/answer/",
        provider_sign_in.provider_answer,
        name="provider-answer",
        who=Visitors.ANYONE,
        needs_mfa=False,
        is_read_only=False,
    ),
    form_page(
        "sign-in/provider/account/",
        provider_sign_in.provider_account,
        name="provider-account",
        who=Visitors.SIGNED_IN,
        needs_mfa=False,
        reauthenticate=True,
    ),
    form_page(
        "accounts/reauthenticate/",
        step_up.step_up_page,
        name="step-up",
        who=Visitors.SIGNED_IN,
        needs_mfa=False,
    ),
    action(
        "accounts/reauthenticate/passkey/",
        step_up.step_up_passkey,
        name="step-up-passkey",
        who=Visitors.SIGNED_IN,
        needs_mfa=False,
    ),
    action("theme/", accounts.theme_set, name="theme-set", who=Visitors.ANYONE),
    page(
        "sessions/",
        sessions.session_list,
        name="session-list",
        who=Visitors.SIGNED_IN,
        needs_mfa=False,
    ),
    action(
        "sessions/end/",
        sessions.session_end,
        name="session-end",
        who=Visitors.SIGNED_IN,
        needs_mfa=False,
    ),
    # Credentials: the key pair of one org on one site.
    page("credentials/", credentials.credential_list, name="credential-list", who=SEE),
    form_page(
        "credentials/new/",
        credentials.credential_new,
        name="credential-new",
        who=MANAGE_CREDENTIALS,
        reauthenticate=True,
    ),
    page(
        "credentials/<uuid:pk>/", credentials.credential_detail, name="credential-detail", who=SEE
    ),
    action(
        "credentials/<uuid:pk>/verify/",
        credentials.credential_verify,
        name="credential-verify",
        who=MANAGE_CREDENTIALS,
        reauthenticate=True,
    ),
    action(
        "credentials/<uuid:pk>/rename/",
        credentials.credential_rename,
        name="credential-rename",
        who=MANAGE_CREDENTIALS,
        reauthenticate=True,
    ),
    form_page(
        "credentials/<uuid:pk>/rotate/",
        credential_keys.credential_rotate,
        name="credential-rotate",
        who=MANAGE_CREDENTIALS,
        reauthenticate=True,
    ),
    action(
        "credentials/<uuid:pk>/policy/",
        credentials.credential_policy,
        name="credential-policy",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    form_page(
        "credentials/<uuid:pk>/access/",
        credential_access.access_set,
        name="credential-access",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    form_page(
        "credentials/<uuid:pk>/retire/",
        credential_keys.credential_retire,
        name="credential-retire",
        who=MANAGE_CREDENTIALS,
        reauthenticate=True,
    ),
    # Connections: what Datadog says there is.
    page("connections/", org_connections.org_connection_list, name="org-connection-list", who=SEE),
    action(
        "connections/refresh/",
        org_connections.org_connection_refresh,
        name="org-connection-refresh",
        who=SYNC,
    ),
    page(
        "connections/export/",
        org_connections.org_connection_export,
        name="org-connection-export",
        who=EXPORT,
    ),
    form_page(
        "connections/protect/",
        protections.org_connection_protect,
        name="org-connection-protect",
        who=PROTECT,
    ),
    page(
        "connections/<site:site>/<uuid:connection_id>/",
        org_connections.org_connection_detail,
        name="org-connection-detail",
        who=SEE,
    ),
    form_page(
        "connections/<site:site>/<uuid:connection_id>/lift/",
        protections.org_connection_lift,
        name="org-connection-lift",
        who=UNPROTECT,
        reauthenticate=True,
    ),
    # Deletions: review and ask, then one deletion's life.
    page("deletions/", history.deletion_list, name="deletion-list", who=SEE),
    page("deletions/export/", history.deletion_export, name="deletion-export", who=EXPORT),
    form_page(
        "deletions/new/",
        deletions.deletion_new,
        name="deletion-new",
        who=DELETE,
        reauthenticate=True,
    ),
    page("deletions/<uuid:pk>/", deletions.deletion_detail, name="deletion-detail", who=SEE),
    action(
        "deletions/<uuid:pk>/execute/",
        deletions.deletion_execute,
        name="deletion-execute",
        who=DELETE,
        reauthenticate=True,
    ),
    action(
        "deletions/<uuid:pk>/approve/",
        approvals.deletion_approve,
        name="deletion-approve",
        who=APPROVE,
        reauthenticate=True,
    ),
    action(
        "deletions/<uuid:pk>/decline/",
        approvals.deletion_decline,
        name="deletion-decline",
        who=APPROVE,
    ),
    action(
        "deletions/<uuid:pk>/break-glass/",
        break_glass.deletion_break_glass,
        name="deletion-break-glass",
        who=BREAK_GLASS,
        reauthenticate=True,
    ),
    action(
        "deletions/<uuid:pk>/review-glass/",
        break_glass.deletion_review_glass,
        name="deletion-review-glass",
        who=APPROVE,
        reauthenticate=True,
    ),
    action(
        "deletions/<uuid:pk>/withdraw/",
        deletions.deletion_withdraw,
        name="deletion-withdraw",
        who=WITHDRAW,
    ),
    action(
        "deletions/<uuid:pk>/reconcile/",
        deletions.deletion_reconcile,
        name="deletion-reconcile",
        who=DELETE,
    ),
    action(
        "deletions/<uuid:pk>/comment/",
        deletion_comments.deletion_comment,
        name="deletion-comment",
        who=COMMENT,
    ),
    action(
        "deletions/<uuid:pk>/close/", deletions.deletion_close, name="deletion-close", who=DELETE
    ),
    # People and what they did.
    page("people/", people.person_list, name="person-list", who=ADMINISTER),
    form_page(
        "people/new/", people.person_new, name="person-new", who=ADMINISTER, reauthenticate=True
    ),
    page("people/<uuid:pk>/", people.person_detail, name="person-detail", who=ADMINISTER),
    action(
        "people/<uuid:pk>/roles/",
        people.person_roles,
        name="person-roles",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/email/",
        people.person_email,
        name="person-email",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/break-glass/",
        people.person_break_glass,
        name="person-break-glass",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/disable/",
        people.person_disable,
        name="person-disable",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/enable/",
        people.person_enable,
        name="person-enable",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/link/",
        people.person_link,
        name="person-link",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/provider/",
        people.person_provider,
        name="person-provider",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/sessions/",
        people.person_sessions_end,
        name="person-sessions",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    page("audit/", audit.audit_list, name="audit-list", who=AUDIT),
    page("audit/export/", audit.audit_export, name="audit-export", who=AUDIT),
    page("audit/<int:seq>/", audit.audit_detail, name="audit-detail", who=AUDIT),
    page("evidence/", evidence.evidence_detail, name="evidence-detail", who=AUDIT),
    form_page("evidence/bundle/", bundles.bundle_new, name="bundle-new", who=AUDIT),
    action("evidence/verify/", evidence.evidence_verify, name="evidence-verify", who=AUDIT),
    page(
        "evidence/checkpoints/<int:pk>/",
        evidence.checkpoint_download,
        name="checkpoint-download",
        who=AUDIT,
    ),
    page("notices/", notices.notice_list, name="notice-list", who=ADMINISTER),
    action("notices/test/", notices.notice_test, name="notice-test", who=ADMINISTER),
    action("notices/<uuid:pk>/retry/", notices.notice_retry, name="notice-retry", who=ADMINISTER),
    page("metrics", health.metrics, name="metrics", who=SEE_EVERYTHING, takes_token=True),
]

"""The table of contents, in the order a person walks."""

from django.urls import path, register_converter
from django.urls.converters import StringConverter

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


class SiteConverter(StringConverter):
    """What may be the name of a site; PostgreSQL could not even be asked for anything else."""

    regex = "[A-Za-z0-9._-]+"


register_converter(SiteConverter, "site")

urlpatterns = [
    path("", overview.overview_detail, name="overview"),
    path("setup/", accounts.setup, name="setup"),
    path("sign-in/", accounts.sign_in_link, name="sign-in-link"),
    path("sign-in/provider/", provider_sign_in.provider_start, name="provider-start"),
    path("sign-in/provider/again/", provider_sign_in.provider_step_up, name="provider-step-up"),
    path(
        "sign-in/provider/connect/",
        provider_sign_in.provider_connect_start,
        name="provider-connect-start",
    ),
    path("sign-in/provider/answer/", provider_sign_in.provider_answer, name="provider-answer"),
    path("sign-in/provider/account/", provider_sign_in.provider_account, name="provider-account"),
    path("accounts/reauthenticate/", step_up.step_up_page, name="step-up"),
    path("accounts/reauthenticate/passkey/", step_up.step_up_passkey, name="step-up-passkey"),
    path("theme/", accounts.theme_set, name="theme-set"),
    path("sessions/", sessions.session_list, name="session-list"),
    path("sessions/end/", sessions.session_end, name="session-end"),
    # Credentials: the key pair of one org on one site.
    path("credentials/", credentials.credential_list, name="credential-list"),
    path("credentials/new/", credentials.credential_new, name="credential-new"),
    path("credentials/<uuid:pk>/", credentials.credential_detail, name="credential-detail"),
    path("credentials/<uuid:pk>/verify/", credentials.credential_verify, name="credential-verify"),
    path("credentials/<uuid:pk>/rename/", credentials.credential_rename, name="credential-rename"),
    path(
        "credentials/<uuid:pk>/rotate/", credential_keys.credential_rotate, name="credential-rotate"
    ),
    path("credentials/<uuid:pk>/policy/", credentials.credential_policy, name="credential-policy"),
    path("credentials/<uuid:pk>/access/", credential_access.access_set, name="credential-access"),
    path(
        "credentials/<uuid:pk>/retire/", credential_keys.credential_retire, name="credential-retire"
    ),
    # Connections: what Datadog says there is.
    path("connections/", org_connections.org_connection_list, name="org-connection-list"),
    path(
        "connections/refresh/",
        org_connections.org_connection_refresh,
        name="org-connection-refresh",
    ),
    path(
        "connections/export/", org_connections.org_connection_export, name="org-connection-export"
    ),
    path("connections/protect/", protections.org_connection_protect, name="org-connection-protect"),
    path(
        "connections/<site:site>/<uuid:connection_id>/",
        org_connections.org_connection_detail,
        name="org-connection-detail",
    ),
    path(
        "connections/<site:site>/<uuid:connection_id>/lift/",
        protections.org_connection_lift,
        name="org-connection-lift",
    ),
    # Deletions: review and ask, then one deletion's life.
    path("deletions/", history.deletion_list, name="deletion-list"),
    path("deletions/export/", history.deletion_export, name="deletion-export"),
    path("deletions/new/", deletions.deletion_new, name="deletion-new"),
    path("deletions/<uuid:pk>/", deletions.deletion_detail, name="deletion-detail"),
    path("deletions/<uuid:pk>/execute/", deletions.deletion_execute, name="deletion-execute"),
    path("deletions/<uuid:pk>/approve/", approvals.deletion_approve, name="deletion-approve"),
    path("deletions/<uuid:pk>/decline/", approvals.deletion_decline, name="deletion-decline"),
    path(
        "deletions/<uuid:pk>/break-glass/",
        break_glass.deletion_break_glass,
        name="deletion-break-glass",
    ),
    path(
        "deletions/<uuid:pk>/review-glass/",
        break_glass.deletion_review_glass,
        name="deletion-review-glass",
    ),
    path("deletions/<uuid:pk>/withdraw/", deletions.deletion_withdraw, name="deletion-withdraw"),
    path("deletions/<uuid:pk>/reconcile/", deletions.deletion_reconcile, name="deletion-reconcile"),
    path(
        "deletions/<uuid:pk>/comment/", deletion_comments.deletion_comment, name="deletion-comment"
    ),
    path("deletions/<uuid:pk>/close/", deletions.deletion_close, name="deletion-close"),
    # People and what they did.
    path("people/", people.person_list, name="person-list"),
    path("people/new/", people.person_new, name="person-new"),
    path("people/<uuid:pk>/", people.person_detail, name="person-detail"),
    path("people/<uuid:pk>/roles/", people.person_roles, name="person-roles"),
    path("people/<uuid:pk>/email/", people.person_email, name="person-email"),
    path("people/<uuid:pk>/break-glass/", people.person_break_glass, name="person-break-glass"),
    path("people/<uuid:pk>/disable/", people.person_disable, name="person-disable"),
    path("people/<uuid:pk>/enable/", people.person_enable, name="person-enable"),
    path("people/<uuid:pk>/link/", people.person_link, name="person-link"),
    path("people/<uuid:pk>/provider/", people.person_provider, name="person-provider"),
    path("people/<uuid:pk>/sessions/", people.person_sessions_end, name="person-sessions"),
    path("audit/", audit.audit_list, name="audit-list"),
    path("audit/export/", audit.audit_export, name="audit-export"),
    path("audit/<int:seq>/", audit.audit_detail, name="audit-detail"),
    path("evidence/", evidence.evidence_detail, name="evidence-detail"),
    path("evidence/bundle/", bundles.bundle_new, name="bundle-new"),
    path("evidence/verify/", evidence.evidence_verify, name="evidence-verify"),
    path(
        "evidence/checkpoints/<int:pk>/", evidence.checkpoint_download, name="checkpoint-download"
    ),
    path("notices/", notices.notice_list, name="notice-list"),
    path("notices/test/", notices.notice_test, name="notice-test"),
    path("notices/<uuid:pk>/retry/", notices.notice_retry, name="notice-retry"),
    path("metrics", health.metrics, name="metrics"),
]

"""Every URL, with its view and who can open it."""

from django.urls import register_converter
from django.urls.converters import StringConverter

from connections.access.permissions import (
    ACKNOWLEDGE,
    ADMINISTER,
    APPROVE,
    AUDIT,
    BREAK_GLASS,
    COMMENT,
    DECIDE,
    DELETE,
    EXPORT,
    MANAGE_ACCESS_REVIEWS,
    MANAGE_CREDENTIALS,
    PROTECT,
    SEE,
    SEE_EVERYTHING,
    STOP_BATCH,
    SYNC,
    UNPROTECT,
    WITHDRAW,
)
from connections.web import monitoring, notifications, reauthentication
from connections.web.access_reviews import views as access_review_views
from connections.web.audit import evidence_views
from connections.web.audit import views as audit_views
from connections.web.batches import views as batch_views
from connections.web.changes import views as change_views
from connections.web.credentials import views as credential_views
from connections.web.deletions import history_views, review_views
from connections.web.deletions import views as deletion_views
from connections.web.inventory import org_views
from connections.web.inventory import views as inventory_views
from connections.web.overview import views as overview_views
from connections.web.people import single_sign_on_views
from connections.web.people import views as person_views
from connections.web.routing import Visitors, action, form_page, page


class SiteConverter(StringConverter):
    """The name of a site.

    PostgreSQL refuses a query for text with other characters, such as NUL.
    """

    regex = "[A-Za-z0-9._-]+"


register_converter(SiteConverter, "site")

urlpatterns = [
    page("", overview_views.overview_detail, name="overview", permission=SEE),
    form_page(
        "setup/", person_views.setup, name="setup", permission=Visitors.ANYONE, shows_secret=True
    ),
    form_page(
        "sign-in/",
        person_views.sign_in_link,
        name="sign-in-link",
        permission=Visitors.ANYONE,
        shows_secret=True,
    ),
    page(
        "sign-in/provider/",
        single_sign_on_views.provider_start,
        name="provider-start",
        permission=Visitors.ANYONE,
    ),
    page(
        "sign-in/provider/again/",
        single_sign_on_views.provider_reauthenticate,
        name="provider-reauthentication",
        permission=Visitors.SIGNED_IN,
    ),
    page(
        "sign-in/provider/connect/",
        single_sign_on_views.provider_connect_start,
        name="provider-connect-start",
        permission=Visitors.SIGNED_IN,
    ),
    page(
        "sign-in/provider/answer/",
        single_sign_on_views.provider_callback,
        name="provider-callback",
        permission=Visitors.ANYONE,
        is_read_only=False,
    ),
    form_page(
        "sign-in/provider/account/",
        single_sign_on_views.provider_account,
        name="provider-account",
        permission=Visitors.SIGNED_IN,
        reauthenticate=True,
    ),
    form_page(
        "accounts/reauthenticate/",
        reauthentication.reauthentication_page,
        name="reauthentication",
        permission=Visitors.SIGNED_IN,
    ),
    action(
        "accounts/reauthenticate/passkey/",
        reauthentication.reauthentication_passkey,
        name="reauthentication-passkey",
        permission=Visitors.SIGNED_IN,
    ),
    action(
        "appearance/",
        person_views.appearance_set,
        name="appearance-set",
        permission=Visitors.ANYONE,
    ),
    action(
        "accounts/change-emails/",
        person_views.change_emails_set,
        name="change-emails-set",
        permission=Visitors.SIGNED_IN,
    ),
    page(
        "sessions/",
        person_views.session_list,
        name="session-list",
        permission=Visitors.SIGNED_IN,
    ),
    action(
        "sessions/end/",
        person_views.session_end,
        name="session-end",
        permission=Visitors.SIGNED_IN,
    ),
    # Credentials
    page("credentials/", credential_views.credential_list, name="credential-list", permission=SEE),
    form_page(
        "credentials/new/",
        credential_views.credential_new,
        name="credential-new",
        permission=MANAGE_CREDENTIALS,
        reauthenticate=True,
    ),
    form_page(
        "credentials/import/",
        credential_views.credential_import,
        name="credential-import",
        permission=MANAGE_CREDENTIALS,
        reauthenticate=True,
        accepts_file=True,
    ),
    page(
        "credentials/<uuid:pk>/",
        credential_views.credential_detail,
        name="credential-detail",
        permission=SEE,
    ),
    action(
        "credentials/<uuid:pk>/verify/",
        credential_views.credential_verify,
        name="credential-verify",
        permission=MANAGE_CREDENTIALS,
        reauthenticate=True,
    ),
    action(
        "credentials/<uuid:pk>/rename/",
        credential_views.credential_rename,
        name="credential-rename",
        permission=MANAGE_CREDENTIALS,
        reauthenticate=True,
    ),
    form_page(
        "credentials/<uuid:pk>/rotate/",
        credential_views.credential_rotate,
        name="credential-rotate",
        permission=MANAGE_CREDENTIALS,
        reauthenticate=True,
    ),
    action(
        "credentials/<uuid:pk>/policy/",
        credential_views.credential_policy,
        name="credential-policy",
        permission=ADMINISTER,
        reauthenticate=True,
    ),
    form_page(
        "credentials/<uuid:pk>/access/",
        credential_views.credential_access,
        name="credential-access",
        permission=ADMINISTER,
        reauthenticate=True,
    ),
    form_page(
        "credentials/<uuid:pk>/retire/",
        credential_views.credential_retire,
        name="credential-retire",
        permission=MANAGE_CREDENTIALS,
        reauthenticate=True,
    ),
    # Org connections
    page(
        "connections/",
        inventory_views.org_connection_list,
        name="org-connection-list",
        permission=SEE,
    ),
    page(
        "connections/between/",
        inventory_views.org_connection_between,
        name="org-connection-between",
        permission=SEE,
    ),
    action(
        "connections/refresh/",
        inventory_views.org_connection_refresh,
        name="org-connection-refresh",
        permission=SYNC,
    ),
    page(
        "connections/export/",
        inventory_views.org_connection_export,
        name="org-connection-export",
        permission=EXPORT,
    ),
    form_page(
        "connections/protect/",
        inventory_views.org_connection_protect,
        name="org-connection-protect",
        permission=PROTECT,
    ),
    page(
        "connections/<site:site>/<uuid:connection_id>/",
        inventory_views.org_connection_detail,
        name="org-connection-detail",
        permission=SEE,
    ),
    form_page(
        "connections/<site:site>/<uuid:connection_id>/lift/",
        inventory_views.org_connection_unprotect,
        name="org-connection-unprotect",
        permission=UNPROTECT,
        reauthenticate=True,
    ),
    # Orgs
    page("orgs/", org_views.org_list, name="org-list", permission=SEE),
    page(
        "orgs/<site:site>/<uuid:org_id>/", org_views.org_detail, name="org-detail", permission=SEE
    ),
    # Changes
    page("changes/", change_views.change_list, name="change-list", permission=SEE),
    page("changes/export/", change_views.change_export, name="change-export", permission=EXPORT),
    action(
        "changes/acknowledge/",
        change_views.change_acknowledge_many,
        name="change-acknowledge-many",
        permission=ACKNOWLEDGE,
    ),
    action(
        "changes/<uuid:pk>/acknowledge/",
        change_views.change_acknowledge,
        name="change-acknowledge",
        permission=ACKNOWLEDGE,
    ),
    # Deletions
    page("deletions/", history_views.deletion_list, name="deletion-list", permission=SEE),
    page(
        "deletions/export/",
        history_views.deletion_export,
        name="deletion-export",
        permission=EXPORT,
    ),
    form_page(
        "deletions/new/",
        review_views.deletion_new,
        name="deletion-new",
        permission=DELETE,
        reauthenticate=True,
    ),
    page(
        "deletions/<uuid:pk>/",
        deletion_views.deletion_detail,
        name="deletion-detail",
        permission=SEE,
    ),
    action(
        "deletions/<uuid:pk>/execute/",
        deletion_views.deletion_execute,
        name="deletion-execute",
        permission=DELETE,
        reauthenticate=True,
    ),
    action(
        "deletions/<uuid:pk>/approve/",
        deletion_views.deletion_approve,
        name="deletion-approve",
        permission=APPROVE,
        reauthenticate=True,
    ),
    action(
        "deletions/<uuid:pk>/decline/",
        deletion_views.deletion_decline,
        name="deletion-decline",
        permission=APPROVE,
    ),
    action(
        "deletions/<uuid:pk>/break-glass/",
        deletion_views.deletion_break_glass,
        name="deletion-break-glass",
        permission=BREAK_GLASS,
        reauthenticate=True,
    ),
    action(
        "deletions/<uuid:pk>/review-glass/",
        deletion_views.deletion_review_break_glass,
        name="deletion-review-glass",
        permission=APPROVE,
        reauthenticate=True,
    ),
    action(
        "deletions/<uuid:pk>/withdraw/",
        deletion_views.deletion_withdraw,
        name="deletion-withdraw",
        permission=WITHDRAW,
    ),
    action(
        "deletions/<uuid:pk>/reconcile/",
        deletion_views.deletion_reconcile,
        name="deletion-reconcile",
        permission=DELETE,
    ),
    action(
        "deletions/<uuid:pk>/comment/",
        deletion_views.deletion_comment,
        name="deletion-comment",
        permission=COMMENT,
    ),
    action(
        "deletions/<uuid:pk>/close/",
        deletion_views.deletion_close,
        name="deletion-close",
        permission=DELETE,
    ),
    # Bulk deletions
    form_page(
        "deletions/batches/",
        batch_views.batch_list,
        name="batch-list",
        permission=SEE,
        post_permission=DELETE,
        # For a plan of 1,000 rows.
        max_fields=1100,
    ),
    page(
        "deletions/batches/<uuid:pk>/",
        batch_views.batch_detail,
        name="batch-detail",
        permission=SEE,
    ),
    page(
        "deletions/batches/<uuid:pk>/export/",
        batch_views.batch_export,
        name="batch-export",
        permission=EXPORT,
    ),
    action(
        "deletions/batches/<uuid:pk>/remove/",
        batch_views.batch_remove,
        name="batch-remove",
        permission=DELETE,
        max_fields=1100,
    ),
    action(
        "deletions/batches/<uuid:pk>/credential/",
        batch_views.batch_credential,
        name="batch-credential",
        permission=DELETE,
        max_fields=1100,
    ),
    action(
        "deletions/batches/<uuid:pk>/split/",
        batch_views.batch_split,
        name="batch-split",
        permission=DELETE,
    ),
    action(
        "deletions/batches/<uuid:pk>/request/",
        batch_views.batch_request,
        name="batch-request",
        permission=DELETE,
        reauthenticate=True,
    ),
    action(
        "deletions/batches/<uuid:pk>/approve/",
        batch_views.batch_approve,
        name="batch-approve",
        permission=APPROVE,
        reauthenticate=True,
    ),
    action(
        "deletions/batches/<uuid:pk>/decline/",
        batch_views.batch_decline,
        name="batch-decline",
        permission=APPROVE,
    ),
    action(
        "deletions/batches/<uuid:pk>/execute/",
        batch_views.batch_execute,
        name="batch-execute",
        permission=DELETE,
        reauthenticate=True,
    ),
    action(
        "deletions/batches/<uuid:pk>/pause/",
        batch_views.batch_pause,
        name="batch-pause",
        permission=STOP_BATCH,
    ),
    action(
        "deletions/batches/<uuid:pk>/resume/",
        batch_views.batch_resume,
        name="batch-resume",
        permission=DELETE,
        reauthenticate=True,
    ),
    action(
        "deletions/batches/<uuid:pk>/cancel/",
        batch_views.batch_cancel,
        name="batch-cancel",
        permission=STOP_BATCH,
    ),
    # Access reviews
    page(
        "reviews/",
        access_review_views.access_review_list,
        name="access-review-list",
        permission=SEE,
    ),
    form_page(
        "reviews/new/",
        access_review_views.access_review_new,
        name="access-review-new",
        permission=MANAGE_ACCESS_REVIEWS,
        # One checkbox per reviewer.
        max_fields=1100,
    ),
    page(
        "reviews/<uuid:pk>/",
        access_review_views.access_review_detail,
        name="access-review-detail",
        permission=SEE,
    ),
    action(
        "reviews/<uuid:pk>/decide/",
        access_review_views.access_review_decide,
        name="access-review-decide",
        permission=DECIDE,
        # As many connections as one decision can cover.
        max_fields=1100,
    ),
    action(
        "reviews/<uuid:pk>/plan/",
        access_review_views.access_review_plan,
        name="access-review-plan",
        permission=DELETE,
    ),
    form_page(
        "reviews/<uuid:pk>/reviewers/",
        access_review_views.access_review_reviewers,
        name="access-review-reviewers",
        permission=MANAGE_ACCESS_REVIEWS,
        # One checkbox per reviewer.
        max_fields=1100,
    ),
    form_page(
        "reviews/<uuid:pk>/close/",
        access_review_views.access_review_close,
        name="access-review-close",
        permission=MANAGE_ACCESS_REVIEWS,
    ),
    page(
        "reviews/<uuid:pk>/export/",
        access_review_views.access_review_export,
        name="access-review-export",
        permission=MANAGE_ACCESS_REVIEWS,
        # A bundle stores its checkpoint, and an export its events.
        is_read_only=False,
    ),
    # People
    page("people/", person_views.person_list, name="person-list", permission=ADMINISTER),
    form_page(
        "people/new/",
        person_views.person_new,
        name="person-new",
        permission=ADMINISTER,
        reauthenticate=True,
        shows_secret=True,
    ),
    page(
        "people/<uuid:pk>/", person_views.person_detail, name="person-detail", permission=ADMINISTER
    ),
    action(
        "people/<uuid:pk>/roles/",
        person_views.person_roles,
        name="person-roles",
        permission=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/email/",
        person_views.person_email,
        name="person-email",
        permission=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/break-glass/",
        person_views.person_break_glass,
        name="person-break-glass",
        permission=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/disable/",
        person_views.person_disable,
        name="person-disable",
        permission=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/enable/",
        person_views.person_enable,
        name="person-enable",
        permission=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/link/",
        person_views.person_link,
        name="person-link",
        permission=ADMINISTER,
        reauthenticate=True,
        shows_secret=True,
    ),
    action(
        "people/<uuid:pk>/provider/",
        person_views.person_provider,
        name="person-provider",
        permission=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/sessions/",
        person_views.person_sessions_end,
        name="person-sessions",
        permission=ADMINISTER,
        reauthenticate=True,
    ),
    # Audit log and evidence
    page("audit/", audit_views.audit_list, name="audit-list", permission=AUDIT),
    page("audit/export/", audit_views.audit_export, name="audit-export", permission=AUDIT),
    page("audit/<int:seq>/", audit_views.audit_detail, name="audit-detail", permission=AUDIT),
    page("evidence/", evidence_views.evidence_detail, name="evidence-detail", permission=AUDIT),
    form_page("evidence/bundle/", evidence_views.bundle_new, name="bundle-new", permission=AUDIT),
    action(
        "evidence/verify/", evidence_views.evidence_verify, name="evidence-verify", permission=AUDIT
    ),
    page(
        "evidence/checkpoints/<int:pk>/",
        evidence_views.checkpoint_download,
        name="checkpoint-download",
        permission=AUDIT,
    ),
    # Notifications and metrics
    page("notices/", notifications.notification_list, name="notice-list", permission=ADMINISTER),
    action(
        "notices/test/", notifications.notification_test, name="notice-test", permission=ADMINISTER
    ),
    action(
        "notices/<uuid:pk>/retry/",
        notifications.notification_retry,
        name="notice-retry",
        permission=ADMINISTER,
    ),
    page("metrics", monitoring.metrics, name="metrics", permission=SEE_EVERYTHING),
]

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
    page("", overview_views.overview_detail, name="overview", who=SEE),
    form_page("setup/", person_views.setup, name="setup", who=Visitors.ANYONE, shows_secret=True),
    form_page(
        "sign-in/",
        person_views.sign_in_link,
        name="sign-in-link",
        who=Visitors.ANYONE,
        shows_secret=True,
    ),
    page(
        "sign-in/provider/",
        single_sign_on_views.provider_start,
        name="provider-start",
        who=Visitors.ANYONE,
    ),
    page(
        "sign-in/provider/again/",
        single_sign_on_views.provider_reauthenticate,
        name="provider-reauthentication",
        who=Visitors.SIGNED_IN,
    ),
    page(
        "sign-in/provider/connect/",
        single_sign_on_views.provider_connect_start,
        name="provider-connect-start",
        who=Visitors.SIGNED_IN,
    ),
    page(
        "sign-in/provider/answer/",
        single_sign_on_views.provider_callback,
        name="provider-callback",
        who=Visitors.ANYONE,
        is_read_only=False,
    ),
    form_page(
        "sign-in/provider/account/",
        single_sign_on_views.provider_account,
        name="provider-account",
        who=Visitors.SIGNED_IN,
        reauthenticate=True,
    ),
    form_page(
        "accounts/reauthenticate/",
        reauthentication.reauthentication_page,
        name="reauthentication",
        who=Visitors.SIGNED_IN,
    ),
    action(
        "accounts/reauthenticate/passkey/",
        reauthentication.reauthentication_passkey,
        name="reauthentication-passkey",
        who=Visitors.SIGNED_IN,
    ),
    action("appearance/", person_views.appearance_set, name="appearance-set", who=Visitors.ANYONE),
    action(
        "accounts/change-emails/",
        person_views.change_emails_set,
        name="change-emails-set",
        who=Visitors.SIGNED_IN,
    ),
    page(
        "sessions/",
        person_views.session_list,
        name="session-list",
        who=Visitors.SIGNED_IN,
    ),
    action(
        "sessions/end/",
        person_views.session_end,
        name="session-end",
        who=Visitors.SIGNED_IN,
    ),
    # Credentials
    page("credentials/", credential_views.credential_list, name="credential-list", who=SEE),
    form_page(
        "credentials/new/",
        credential_views.credential_new,
        name="credential-new",
        who=MANAGE_CREDENTIALS,
        reauthenticate=True,
    ),
    form_page(
        "credentials/import/",
        credential_views.credential_import,
        name="credential-import",
        who=MANAGE_CREDENTIALS,
        reauthenticate=True,
        accepts_file=True,
    ),
    page(
        "credentials/<uuid:pk>/",
        credential_views.credential_detail,
        name="credential-detail",
        who=SEE,
    ),
    action(
        "credentials/<uuid:pk>/verify/",
        credential_views.credential_verify,
        name="credential-verify",
        who=MANAGE_CREDENTIALS,
        reauthenticate=True,
    ),
    action(
        "credentials/<uuid:pk>/rename/",
        credential_views.credential_rename,
        name="credential-rename",
        who=MANAGE_CREDENTIALS,
        reauthenticate=True,
    ),
    form_page(
        "credentials/<uuid:pk>/rotate/",
        credential_views.credential_rotate,
        name="credential-rotate",
        who=MANAGE_CREDENTIALS,
        reauthenticate=True,
    ),
    action(
        "credentials/<uuid:pk>/policy/",
        credential_views.credential_policy,
        name="credential-policy",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    form_page(
        "credentials/<uuid:pk>/access/",
        credential_views.credential_access,
        name="credential-access",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    form_page(
        "credentials/<uuid:pk>/retire/",
        credential_views.credential_retire,
        name="credential-retire",
        who=MANAGE_CREDENTIALS,
        reauthenticate=True,
    ),
    # Org connections
    page("connections/", inventory_views.org_connection_list, name="org-connection-list", who=SEE),
    page(
        "connections/between/",
        inventory_views.org_connection_between,
        name="org-connection-between",
        who=SEE,
    ),
    action(
        "connections/refresh/",
        inventory_views.org_connection_refresh,
        name="org-connection-refresh",
        who=SYNC,
    ),
    page(
        "connections/export/",
        inventory_views.org_connection_export,
        name="org-connection-export",
        who=EXPORT,
    ),
    form_page(
        "connections/protect/",
        inventory_views.org_connection_protect,
        name="org-connection-protect",
        who=PROTECT,
    ),
    page(
        "connections/<site:site>/<uuid:connection_id>/",
        inventory_views.org_connection_detail,
        name="org-connection-detail",
        who=SEE,
    ),
    form_page(
        "connections/<site:site>/<uuid:connection_id>/lift/",
        inventory_views.org_connection_unprotect,
        name="org-connection-unprotect",
        who=UNPROTECT,
        reauthenticate=True,
    ),
    # Orgs
    page("orgs/", org_views.org_list, name="org-list", who=SEE),
    page("orgs/<site:site>/<uuid:org_id>/", org_views.org_detail, name="org-detail", who=SEE),
    # Changes
    page("changes/", change_views.change_list, name="change-list", who=SEE),
    page("changes/export/", change_views.change_export, name="change-export", who=EXPORT),
    action(
        "changes/acknowledge/",
        change_views.change_acknowledge_many,
        name="change-acknowledge-many",
        who=ACKNOWLEDGE,
    ),
    action(
        "changes/<uuid:pk>/acknowledge/",
        change_views.change_acknowledge,
        name="change-acknowledge",
        who=ACKNOWLEDGE,
    ),
    # Deletions
    page("deletions/", history_views.deletion_list, name="deletion-list", who=SEE),
    page("deletions/export/", history_views.deletion_export, name="deletion-export", who=EXPORT),
    form_page(
        "deletions/new/",
        review_views.deletion_new,
        name="deletion-new",
        who=DELETE,
        reauthenticate=True,
    ),
    page("deletions/<uuid:pk>/", deletion_views.deletion_detail, name="deletion-detail", who=SEE),
    action(
        "deletions/<uuid:pk>/execute/",
        deletion_views.deletion_execute,
        name="deletion-execute",
        who=DELETE,
        reauthenticate=True,
    ),
    action(
        "deletions/<uuid:pk>/approve/",
        deletion_views.deletion_approve,
        name="deletion-approve",
        who=APPROVE,
        reauthenticate=True,
    ),
    action(
        "deletions/<uuid:pk>/decline/",
        deletion_views.deletion_decline,
        name="deletion-decline",
        who=APPROVE,
    ),
    action(
        "deletions/<uuid:pk>/break-glass/",
        deletion_views.deletion_break_glass,
        name="deletion-break-glass",
        who=BREAK_GLASS,
        reauthenticate=True,
    ),
    action(
        "deletions/<uuid:pk>/review-glass/",
        deletion_views.deletion_review_break_glass,
        name="deletion-review-glass",
        who=APPROVE,
        reauthenticate=True,
    ),
    action(
        "deletions/<uuid:pk>/withdraw/",
        deletion_views.deletion_withdraw,
        name="deletion-withdraw",
        who=WITHDRAW,
    ),
    action(
        "deletions/<uuid:pk>/reconcile/",
        deletion_views.deletion_reconcile,
        name="deletion-reconcile",
        who=DELETE,
    ),
    action(
        "deletions/<uuid:pk>/comment/",
        deletion_views.deletion_comment,
        name="deletion-comment",
        who=COMMENT,
    ),
    action(
        "deletions/<uuid:pk>/close/",
        deletion_views.deletion_close,
        name="deletion-close",
        who=DELETE,
    ),
    # Bulk deletions
    form_page(
        "deletions/batches/",
        batch_views.batch_list,
        name="batch-list",
        who=SEE,
        who_posts=DELETE,
        # For a plan of 1,000 rows.
        max_fields=1100,
    ),
    page("deletions/batches/<uuid:pk>/", batch_views.batch_detail, name="batch-detail", who=SEE),
    page(
        "deletions/batches/<uuid:pk>/export/",
        batch_views.batch_export,
        name="batch-export",
        who=EXPORT,
    ),
    action(
        "deletions/batches/<uuid:pk>/remove/",
        batch_views.batch_remove,
        name="batch-remove",
        who=DELETE,
        max_fields=1100,
    ),
    action(
        "deletions/batches/<uuid:pk>/credential/",
        batch_views.batch_credential,
        name="batch-credential",
        who=DELETE,
        max_fields=1100,
    ),
    action(
        "deletions/batches/<uuid:pk>/split/",
        batch_views.batch_split,
        name="batch-split",
        who=DELETE,
    ),
    action(
        "deletions/batches/<uuid:pk>/request/",
        batch_views.batch_request,
        name="batch-request",
        who=DELETE,
        reauthenticate=True,
    ),
    action(
        "deletions/batches/<uuid:pk>/approve/",
        batch_views.batch_approve,
        name="batch-approve",
        who=APPROVE,
        reauthenticate=True,
    ),
    action(
        "deletions/batches/<uuid:pk>/decline/",
        batch_views.batch_decline,
        name="batch-decline",
        who=APPROVE,
    ),
    action(
        "deletions/batches/<uuid:pk>/execute/",
        batch_views.batch_execute,
        name="batch-execute",
        who=DELETE,
        reauthenticate=True,
    ),
    action(
        "deletions/batches/<uuid:pk>/pause/",
        batch_views.batch_pause,
        name="batch-pause",
        who=STOP_BATCH,
    ),
    action(
        "deletions/batches/<uuid:pk>/resume/",
        batch_views.batch_resume,
        name="batch-resume",
        who=DELETE,
        reauthenticate=True,
    ),
    action(
        "deletions/batches/<uuid:pk>/cancel/",
        batch_views.batch_cancel,
        name="batch-cancel",
        who=STOP_BATCH,
    ),
    # Access reviews
    page("reviews/", access_review_views.access_review_list, name="access-review-list", who=SEE),
    form_page(
        "reviews/new/",
        access_review_views.access_review_new,
        name="access-review-new",
        who=MANAGE_ACCESS_REVIEWS,
        # One checkbox per reviewer.
        max_fields=1100,
    ),
    page(
        "reviews/<uuid:pk>/",
        access_review_views.access_review_detail,
        name="access-review-detail",
        who=SEE,
    ),
    action(
        "reviews/<uuid:pk>/decide/",
        access_review_views.access_review_decide,
        name="access-review-decide",
        who=DECIDE,
        # As many connections as one decision can cover.
        max_fields=1100,
    ),
    action(
        "reviews/<uuid:pk>/plan/",
        access_review_views.access_review_plan,
        name="access-review-plan",
        who=DELETE,
    ),
    form_page(
        "reviews/<uuid:pk>/reviewers/",
        access_review_views.access_review_reviewers,
        name="access-review-reviewers",
        who=MANAGE_ACCESS_REVIEWS,
        # One checkbox per reviewer.
        max_fields=1100,
    ),
    form_page(
        "reviews/<uuid:pk>/close/",
        access_review_views.access_review_close,
        name="access-review-close",
        who=MANAGE_ACCESS_REVIEWS,
    ),
    page(
        "reviews/<uuid:pk>/export/",
        access_review_views.access_review_export,
        name="access-review-export",
        who=MANAGE_ACCESS_REVIEWS,
        # A bundle stores its checkpoint, and an export its events.
        is_read_only=False,
    ),
    # People
    page("people/", person_views.person_list, name="person-list", who=ADMINISTER),
    form_page(
        "people/new/",
        person_views.person_new,
        name="person-new",
        who=ADMINISTER,
        reauthenticate=True,
        shows_secret=True,
    ),
    page("people/<uuid:pk>/", person_views.person_detail, name="person-detail", who=ADMINISTER),
    action(
        "people/<uuid:pk>/roles/",
        person_views.person_roles,
        name="person-roles",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/email/",
        person_views.person_email,
        name="person-email",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/break-glass/",
        person_views.person_break_glass,
        name="person-break-glass",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/disable/",
        person_views.person_disable,
        name="person-disable",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/enable/",
        person_views.person_enable,
        name="person-enable",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/link/",
        person_views.person_link,
        name="person-link",
        who=ADMINISTER,
        reauthenticate=True,
        shows_secret=True,
    ),
    action(
        "people/<uuid:pk>/provider/",
        person_views.person_provider,
        name="person-provider",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    action(
        "people/<uuid:pk>/sessions/",
        person_views.person_sessions_end,
        name="person-sessions",
        who=ADMINISTER,
        reauthenticate=True,
    ),
    # Audit log and evidence
    page("audit/", audit_views.audit_list, name="audit-list", who=AUDIT),
    page("audit/export/", audit_views.audit_export, name="audit-export", who=AUDIT),
    page("audit/<int:seq>/", audit_views.audit_detail, name="audit-detail", who=AUDIT),
    page("evidence/", evidence_views.evidence_detail, name="evidence-detail", who=AUDIT),
    form_page("evidence/bundle/", evidence_views.bundle_new, name="bundle-new", who=AUDIT),
    action("evidence/verify/", evidence_views.evidence_verify, name="evidence-verify", who=AUDIT),
    page(
        "evidence/checkpoints/<int:pk>/",
        evidence_views.checkpoint_download,
        name="checkpoint-download",
        who=AUDIT,
    ),
    # Notifications and metrics
    page("notices/", notifications.notification_list, name="notice-list", who=ADMINISTER),
    action("notices/test/", notifications.notification_test, name="notice-test", who=ADMINISTER),
    action(
        "notices/<uuid:pk>/retry/",
        notifications.notification_retry,
        name="notice-retry",
        who=ADMINISTER,
    ),
    page(
        "metrics", monitoring.metrics, name="metrics", who=SEE_EVERYTHING, token_authenticated=True
    ),
]

"""People, sign-in and each person's own account: addresses."""

from connections.access.permissions import ADMINISTER, EXPORT
from connections.web.framework.reauthentication import reauthentication, reauthentication_passkey
from connections.web.framework.routing import Visitors, action, form_page, page
from connections.web.people import account, actions, single_sign_on_views, tokens
from connections.web.people.detail import person_detail
from connections.web.people.list import person_list

urlpatterns = [
    form_page("setup/", account.setup, Visitors.ANYONE, shows_secret=True),
    form_page("sign-in/", account.sign_in_link, Visitors.ANYONE, shows_secret=True),
    page("sign-in/provider/", single_sign_on_views.provider_start, Visitors.ANYONE),
    page(
        "sign-in/provider/again/",
        single_sign_on_views.provider_reauthentication,
        Visitors.SIGNED_IN,
    ),
    page("sign-in/provider/renew/", single_sign_on_views.provider_renewal, Visitors.ANYONE),
    page("sign-in/provider/signed-out/", single_sign_on_views.provider_signed_out, Visitors.ANYONE),
    page(
        "sign-in/provider/connect/", single_sign_on_views.provider_connect_start, Visitors.SIGNED_IN
    ),
    page(
        "sign-in/provider/answer/",
        single_sign_on_views.provider_callback,
        Visitors.ANYONE,
    ),
    form_page(
        "sign-in/provider/account/", single_sign_on_views.provider_account, Visitors.SIGNED_IN
    ),
    form_page("accounts/reauthenticate/", reauthentication, Visitors.SIGNED_IN),
    action("accounts/reauthenticate/passkey/", reauthentication_passkey, Visitors.SIGNED_IN),
    action("appearance/", account.appearance_set, Visitors.ANYONE),
    action("accounts/change-emails/", account.change_emails_set, Visitors.SIGNED_IN),
    action("accounts/only-alerts/", account.only_alerts_set, Visitors.SIGNED_IN),
    form_page("accounts/shortcuts/", account.shortcuts, Visitors.SIGNED_IN),
    page("sessions/", account.session_list, Visitors.SIGNED_IN),
    action("sessions/end/", account.session_end, Visitors.SIGNED_IN),
    form_page("account/tokens/", tokens.api_token_list, EXPORT, shows_secret=True),
    action("account/tokens/<uuid:pk>/revoke/", tokens.api_token_revoke, EXPORT),
    page("people/", person_list, ADMINISTER),
    form_page("people/tokens/", tokens.person_token_list, ADMINISTER, shows_secret=True),
    form_page("people/new/", actions.person_new, ADMINISTER, shows_secret=True),
    page("people/<uuid:pk>/", person_detail, ADMINISTER),
    action("people/<uuid:pk>/roles/", actions.person_roles, ADMINISTER),
    action("people/<uuid:pk>/email/", actions.person_email, ADMINISTER),
    action("people/<uuid:pk>/break-glass/", actions.person_break_glass, ADMINISTER),
    action("people/<uuid:pk>/disable/", actions.person_disable, ADMINISTER),
    action("people/<uuid:pk>/enable/", actions.person_enable, ADMINISTER),
    action("people/<uuid:pk>/link/", actions.person_link, ADMINISTER, shows_secret=True),
    action("people/<uuid:pk>/provider/", actions.person_provider, ADMINISTER),
    action("people/<uuid:pk>/sessions/", actions.person_sessions_end, ADMINISTER),
]

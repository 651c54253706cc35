"""The limits that templates name, as text."""

from connections.core.text import format_limit
from connections.core.time_limits import CONFIRMING_WINDOW
from connections.inventory.matrix import RECENT
from connections.people.sign_in_links import SET_UP_LINK_LIFETIME, SIGN_IN_LINK_LIFETIME
from connections.web.framework.reauthentication import WINDOW

# By the names that `{% limit %}` takes.
LIMITS = {
    "confirming": format_limit(CONFIRMING_WINDOW),
    "reauthentication": format_limit(WINDOW),
    "recent_change": format_limit(RECENT),
    "set_up_link": format_limit(SET_UP_LINK_LIFETIME),
    "sign_in_link": format_limit(SIGN_IN_LINK_LIFETIME),
}

"""The record of second factors that people set up and turn off themselves."""

from connections import audit
from connections.access.actor import Actor
from connections.audit import personal_data
from connections.audit.events import EventCode

_NAMES = {
    "totp": "an authenticator app",
    "webauthn": "a passkey or security key",
    "recovery_codes": "new recovery codes",
}


@audit.atomic()
def record_added(*, actor: Actor, what: str) -> None:
    """Record that the actor set up a factor; `what` is its type: totp, webauthn, recovery_codes."""
    audit.record(
        code=EventCode.SECOND_FACTOR_ADDED,
        actor=actor,
        subject=actor.person,
        sentence=f"{personal_data.name_of(actor)} set up {_NAMES[what]}.",
        details={"type": what},
    )


@audit.atomic()
def record_removed(*, actor: Actor, what: str) -> None:
    """Record that the actor turned off a factor of this type."""
    audit.record(
        code=EventCode.SECOND_FACTOR_TURNED_OFF,
        actor=actor,
        subject=actor.person,
        sentence=f"{personal_data.name_of(actor)} removed {_NAMES[what]} of theirs.",
        details={"type": what},
    )

"""What the verification of a bundle says about approvals."""

from __future__ import annotations

from connections.verifier.events import Event
from connections.verifier.messages import fill


def confirmation_finding(confirmed: Event | None, needed: int) -> str:
    """When a bulk deletion was confirmed, after how many approvals."""
    if confirmed is None:
        return "The plan was not confirmed, and no attempt was made."
    others = f"{needed} other {'person' if needed == 1 else 'people'}"
    return fill(
        "{} confirmed the plan before every attempt{}. No attempt was made while it was paused or "
        "after it ended, except for deletions that a person confirmed again individually after an "
        "unknown outcome.",
        confirmed.actor,
        f", after at least {others} had approved it" if needed else "",
    )


def unapproved_text(noun: str, name: str, done: Event, break_glass: Event | None) -> str:
    """What a record lacked approvals for, and who used break glass instead."""
    if done.step != "sending":
        return fill("{} {} was extended without required approvals.", noun, name)
    used = fill(": {} used break glass", break_glass.actor) if break_glass else ""
    text = "{} {}: attempt {} was sent without required approvals{}."
    return fill(text, noun, name, done.details.get("attempt"), used)

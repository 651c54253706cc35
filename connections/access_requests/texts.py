"""What the pages of each kind of access request say, made from the name of the kind."""

from connections.models import RequestKind


def kind_title(kind: RequestKind) -> str:
    """What is done to the pair, which follows: "Move", "Change data types of"."""
    return f"{kind.label} of" if kind == RequestKind.CHANGE else kind.label


def kind_button(kind: RequestKind) -> str:
    """The button that confirms it: "Move connection", "Extend access"."""
    match kind:
        case RequestKind.CHANGE:
            return kind.label
        case RequestKind.EXTEND:
            return f"{kind.label} access"
        case _:
            return f"{kind.label} connection"


def confirm_texts(kind: RequestKind) -> dict[str, str]:
    """The arguments of components/forms/confirm_box.html."""
    return {
        "button": kind_button(kind),
        "busy": "Confirming…",
        # A move starts as a deletion.
        "tone": "danger" if kind == RequestKind.MOVE else "accent",
    }

"""What agreements, and the reasons why a connection isn't agreed, are called."""

from connections.agreements.agreed import Reason
from connections.agreements.setting import AgreementsSet
from connections.core.text import pluralize

REASON_LABELS = {
    Reason.NO_AGREEMENT: "No agreement",
    Reason.OWNER_LEFT: "Owner left",
    Reason.WIDER: "Wider than agreed",
    Reason.ENDED: "Ended",
}


def result_text(result: AgreementsSet) -> str:
    """What was saved: "Saved 3 agreements. 2 already said the same."."""
    parts = []
    if result.new:
        parts.append(f"Saved {pluralize(len(result.new), 'agreement')}.")
    if result.unchanged:
        parts.append(f"{len(result.unchanged):,} already said the same.")
    return " ".join(parts)

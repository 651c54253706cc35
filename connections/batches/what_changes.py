"""What a bulk deletion takes away: who loses which data, and who answers for it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from django.db.models import Exists, OuterRef

from connections.core.text import pluralize
from connections.deletions.confirmations import loss_text
from connections.models import Batch, OrgPair, newest_agreements

_SAME_PAIR = {name: OuterRef(name) for name in OrgPair._fields}
# Of a message.
_MAX_LINES = 5
_NO_ONE = "no one"


class TakenAccess(NamedTuple):
    """One connection to delete."""

    pair: OrgPair
    # The names of the orgs.
    source: str
    sink: str
    types: tuple[str, ...]


def list_losses(taken: Iterable[TakenAccess]) -> list[str]:
    """A sentence for each destination org, by its name."""
    losses: dict[tuple[str, str], tuple[str, dict[tuple[str, ...], list[str]]]] = {}
    for each in taken:
        key = (each.pair.site, each.pair.sink_org_id)
        _, of_org = losses.setdefault(key, (each.sink, {}))
        of_org.setdefault(each.types, []).append(each.source)
    by_name = sorted(losses.values(), key=lambda loss: loss[0].casefold())
    return [loss_text(sink=sink, lost=lost) for sink, lost in by_name]


def find_owner_names(batch: Batch) -> Mapping[OrgPair, str]:
    """The names of the owners in the agreements of its orgs."""
    return {
        agreement.pair: agreement.owner_text or str(agreement.owner)
        for agreement in newest_agreements()
        .filter(Exists(batch.rows.filter(**_SAME_PAIR)))
        .select_related("owner")
    }


def changes_of_batch(batch: Batch) -> tuple[str, ...]:
    """What it takes away, as lines of a message to someone who can see all of it."""
    taken = [
        TakenAccess(
            pair=OrgPair(each.site, each.source_org_id, each.sink_org_id),
            source=each.source_org_name or each.source_org_id,
            sink=each.sink_org_name or each.sink_org_id,
            types=tuple(each.connection_types),
        )
        for each in batch.deletions.all()
    ]
    losses, owners = list_losses(taken), find_owner_names(batch)
    counts = Counter(owners.get(each.pair, _NO_ONE) for each in taken)
    by_count = sorted(counts.items(), key=lambda item: (-item[1], item[0].casefold()))
    names = [f"{name} {count:,}" for name, count in by_count]
    if more := len(losses[_MAX_LINES:]):
        losses = [*losses[:_MAX_LINES], f"And {pluralize(more, 'more org')}."]
    others = f" and {len(names) - _MAX_LINES} more" if len(names) > _MAX_LINES else ""
    return (
        *losses,
        f"Owners: {', '.join(names[:_MAX_LINES])}{others}",
        "Dashboards and notebooks using them might break. No data is deleted.",
    )

"""What access requests gave to pairs of orgs."""

from collections import defaultdict
from collections.abc import Collection

from connections.agreements.agreed import PAIRS_PER_QUERY, of_these_pairs
from connections.models import GAVE_ACCESS, AccessRequest, AuditEvent, EventCode, OrgPair


def find_grants(pairs: Collection[OrgPair]) -> dict[OrgPair, AccessRequest]:
    """The access request that last gave each of these pairs access, where one did.

    The order is that of the audit log, because the clock might have been set back in between.
    """
    completed = defaultdict[OrgPair, list[AccessRequest]](list)
    wanted = list(set(pairs))
    for start in range(0, len(wanted), PAIRS_PER_QUERY):
        of_pairs = of_these_pairs(wanted[start : start + PAIRS_PER_QUERY])
        for row in AccessRequest.objects.filter(GAVE_ACCESS, of_pairs):
            completed[OrgPair(row.site, row.source_org_id, row.sink_org_id)].append(row)
    return {pair: _last_of(rows) for pair, rows in completed.items()}


def _last_of(rows: list[AccessRequest]) -> AccessRequest:
    """The one that was settled last."""
    if len(rows) == 1:
        return rows[0]
    by_id = {str(row.pk): row for row in rows}
    settled = AuditEvent.objects.filter(
        code=EventCode.ACCESS_REQUEST_SETTLED, subject_id__in=by_id
    ).order_by("-seq")
    return by_id[settled.values_list("subject_id", flat=True)[0]]

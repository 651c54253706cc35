"""How the database runs a query."""

from django.db import connection


def plan_of(query: str) -> str:
    """How the database reads the rows.

    PostgreSQL may not scan tables, because it always would scan tables this small.
    """
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {query}")
        else:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(f"EXPLAIN {query}")
        return "\n".join(str(row[-1]) for row in cursor.fetchall())

"""`./run bench`: measures Org Admin from outside and writes docs/PERFORMANCE.md."""

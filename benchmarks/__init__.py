"""Measurements of the product itself, in throw-away databases: docs/PERFORMANCE.md has figures."""

"""Benchmarks of Org Admin with temporary databases; docs/PERFORMANCE.md has the results."""

"""Org connections: syncs, the inventory, timelines and protections."""

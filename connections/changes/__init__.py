"""Changes made outside Org Admin: detected by syncs, listed, acknowledged and exported."""

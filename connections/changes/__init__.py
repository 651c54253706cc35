"""Changes outside the product: detected by syncs, listed, acknowledged and exported."""

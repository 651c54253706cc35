"""Finding past deletions, and telling how many there were."""

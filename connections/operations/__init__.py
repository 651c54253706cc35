"""Running the service: worker, backups, key rotation, checks."""

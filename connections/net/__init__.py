"""HTTP and SMTP with a deadline for each request. Nothing else opens a connection."""

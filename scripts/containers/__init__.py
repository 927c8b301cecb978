"""What `scripts/compose_e2e` is made of. Only the standard library is used, so it runs before any set-up."""

"""Stability AI over its REST API; `docs/providers.md` says what was never tried against it."""

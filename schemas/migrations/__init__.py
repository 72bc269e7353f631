"""The database's schema, step by step (Alembic). `run.py` applies it, guards included."""

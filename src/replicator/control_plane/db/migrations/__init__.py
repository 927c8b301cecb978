"""Alembic's folder: one file per step from one schema to the next."""

"""What happened to a job, as it is kept for those who follow it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

EVENTS_MAX = 10_000
"""Kept for each job; the oldest go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """One thing that happened. `id` counts from 1 in each job; `name` is `what.how`."""

    id: int
    job_id: int
    at_ms: int
    name: str
    fields: Mapping[str, JsonValue]

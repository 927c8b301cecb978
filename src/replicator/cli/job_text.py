"""What commands say about a job, in lines for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from replicator.cli.following import reading_of
from replicator.cli.output import local_time, with_local_times
from replicator.cli.units import bytes_text, duration_text, number_of, rate_text
from replicator.wire.jobs import TERMINAL_STATUSES, JobView, PlanView


def summary(job: JobView) -> str:
    """A job in one line."""
    if job.status not in TERMINAL_STATUSES:
        waiting = f", waiting for {with_local_times(job.waiting_for)}" if job.waiting_for else ""
        return f"job {job.id} {job.status}: {job.selection} from {job.src_node} to {job.dst_node}{waiting}"
    if job.verdict is not None:
        return _verdict(job)
    if job.status != "succeeded":
        return f"job {job.id} {job.status}{_failed(job)}"
    if job.dry_run:
        return f"job {job.id} dry run: {job.selection} from {job.src_node} to {job.dst_node}; nothing changed"
    text = f"job {job.id} succeeded: {_arrived(job)}; of {_bytes(job)}"
    seconds = seconds_of(job)
    if not seconds:
        return text
    return f"{text}; {duration_text(seconds)}, {rate_text(job.progress.bytes_logical / seconds)}"


def facts(job: JobView) -> Mapping[str, str]:
    """Everything about a job by name; empty where there is nothing to say."""
    progress = job.progress
    return {
        "kind": job.kind + (", dry run" if job.dry_run else ", move" if job.mode == "move" else ""),
        "source": job.src_node,
        "destination": job.dst_node,
        "object" if job.object_id is not None else "objects of": job.selection,
        "priority": str(job.priority) if job.priority else "",
        "bandwidth": "" if job.bytes_per_second is None else rate_text(job.bytes_per_second),
        "tasks": "" if job.tasks_max is None else f"{job.tasks_max} at a time",
        "not before": "" if job.start_at is None else local_time(job.start_at),
        "deadline": "" if job.deadline_at is None else local_time(job.deadline_at),
        "progress": str(reading_of(job)),
        "objects": f"{progress.objects_planned} planned, {progress.objects_verified} verified, "
        f"{progress.objects_skipped} skipped, {progress.objects_failed} failed"
        + (f", {progress.objects_deleted} deleted" if progress.objects_deleted else ""),
        "compared": f"{job.compared:,}" if job.compared else "",
        "received": f"{bytes_text(progress.bytes_wire)}, everything counted" if progress.bytes_wire else "",
        "attempts": str(job.attempts),
        "error": ""
        if job.error is None
        else f"{job.error.message} ({job.error.code}, {job.error.error_class})",
        "created": local_time(job.created_at),
        "started": "" if job.started_at is None else local_time(job.started_at),
        "finished": "" if job.finished_at is None else local_time(job.finished_at),
    }


def plan_lines(job: JobView) -> Iterator[str]:
    """What a dry run found, or how a run did against the dry run before it. Estimates stand apart."""
    plan = job.plan
    if plan is None:
        return
    if not job.dry_run:
        yield f"As job {plan.job_id}, a dry run, had planned it"
    yield _row("objects to transfer", f"{plan.objects_to_transfer:,}")
    yield _row("objects unchanged", f"{plan.objects_unchanged:,}")
    if job.kind == "mirror":
        yield _row("objects to delete", f"{plan.objects_to_delete:,}")
    if plan.objects_unchanged:
        yield "Of the objects to transfer"
    yield _row("bytes logical", _exact(plan.bytes_logical))
    yield _row("bytes there already", _exact(plan.bytes_deduplicated))
    yield _row("bytes lacking", _exact(plan.bytes_lacking))
    if plan.bytes_lacking_error is not None:
        transferred = plan.bytes_lacking + plan.bytes_lacking_error
        yield _row("bytes transferred", f"{transferred:,} ({plan.bytes_lacking_error:+,})")
    estimates = list(_estimates(plan)) if job.dry_run else []
    if estimates:
        yield "Estimates, not promises"
        yield from estimates


def root_lines(job: JobView) -> Iterator[str]:
    """The Merkle roots that a verification found."""
    if job.verdict is not None:
        yield _row(f"root on {job.src_node}", job.verdict.source_root)
        yield _row(f"root on {job.dst_node}", job.verdict.destination_root)


def seconds_of(job: JobView) -> float | None:
    """From its creation to its end; None while it lives."""
    return None if job.finished_at is None else (job.finished_at - job.created_at).total_seconds()


def saved_line(job: JobView) -> str:
    """What delta and compression did for the bytes that were lacking; empty where they did nothing."""
    progress = job.progress
    if not progress.bytes_saved:
        return ""
    return (
        f"delta and compression: {bytes_text(progress.bytes_transferred)} were lacking, "
        f"{bytes_text(progress.bytes_saved)} of them were saved, "
        f"{bytes_text(progress.bytes_wire)} were received, everything counted"
    )


def _verdict(job: JobView) -> str:
    assert job.verdict is not None
    agree = job.verdict.agree and job.status == "succeeded"
    said = "agree" if agree else f"do not agree (differences: {job.verdict.differences:,})"
    return (
        f"job {job.id} {job.status}: {job.src_node} and {job.dst_node} {said} on {job.selection}; "
        f"{number_of(job.compared, 'version')} compared"
    )


def _failed(job: JobView) -> str:
    reason = "" if job.error is None else f": {job.error.message} ({job.error.code})"
    progress = job.progress
    if progress.objects_planned <= 1:
        return reason
    return (
        f"{reason}; {progress.objects_failed:,} of {progress.objects_planned:,} objects failed, "
        f"see 'replicator job {job.id} --objects --outcome failed'"
    )


def _arrived(job: JobView) -> str:
    if job.object_id is not None:
        return f"{job.object_id} is on {job.dst_node}"
    progress = job.progress
    deleted = f", {progress.objects_deleted:,} were deleted there" if progress.objects_deleted else ""
    # One that is narrowed says so behind a comma.
    selection = f"{job.selection}," if ", " in job.selection else job.selection
    return (
        f"{selection} is on {job.dst_node}: {number_of(progress.objects_verified, 'object')} came, "
        f"{progress.objects_skipped:,} were there{deleted}"
    )


def _bytes(job: JobView) -> str:
    progress = job.progress
    sent = f"{bytes_text(progress.bytes_transferred)} were sent"
    if progress.bytes_saved:
        sent += f" as {bytes_text(progress.bytes_wire)}"
    return (
        f"{bytes_text(progress.bytes_logical)}, {sent} and "
        f"{bytes_text(progress.bytes_deduplicated)} were there already"
    )


def _estimates(plan: PlanView) -> Iterator[str]:
    if plan.estimate_bytes_saved is not None:
        yield _row("delta and compression save", bytes_text(plan.estimate_bytes_saved))
    if plan.estimate_seconds is not None and plan.link_bytes_per_second is not None:
        rate = rate_text(plan.link_bytes_per_second)
        yield _row("time", f"{duration_text(plan.estimate_seconds)}, at the measured {rate}")
    elif plan.estimate_seconds is None:
        yield _row("time", "unknown: nothing has gone over this link yet")


def _exact(count: int) -> str:
    return f"{count:,}" + (f" ({bytes_text(count)})" if count >= 1000 else "")


def _row(name: str, value: str) -> str:
    return f"  {name:<27} {value}"

"""How a run can end other than well."""

SKIPPED_EXIT_CODE = 77


class StepFailed(Exception):
    """A step did not do what it should; the message says which and why."""


def expect(holds: bool, what: str) -> None:
    """Raise `StepFailed`, which says what was expected, unless it `holds`."""
    if not holds:
        raise StepFailed(f"expected: {what}")


class Hopeless(StepFailed):
    """A step failed and waiting longer cannot help."""


class Skipped(Exception):
    """This machine lacks something that the run needs; the message names it."""

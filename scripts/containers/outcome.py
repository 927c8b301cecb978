"""How a run can end other than well."""

SKIPPED_EXIT_CODE = 77


class StepFailed(Exception):
    """A step did not do what it should; the message says which and why."""


class Hopeless(StepFailed):
    """A step failed and waiting longer cannot help."""


class Skipped(Exception):
    """This machine lacks something that the run needs; the message names it."""

"""Errors that end a gate run; the message of each is one line."""


class GateError(Exception):
    """A user's mistake or a broken revision; the message names it."""


class WorkerError(GateError):
    """A worker process that failed, died or was too slow; the message names its revision."""


class CollectionError(GateError):
    """A revision's benchmarks could not be collected; the message says why."""


class NothingToCompareError(Exception):
    """The two revisions have no benchmark in common; the message says how many each has."""

"""What ends a gate."""


class GateError(Exception):
    """A user's mistake or a broken revision: one line that names it."""


class CollectionError(Exception):
    """The benchmarks of a revision could not be collected: one line that says why."""


class NothingToCompareError(Exception):
    """The two revisions have no benchmark in common: one line."""

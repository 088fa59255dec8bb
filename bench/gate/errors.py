"""What ends a gate."""


class GateError(Exception):
    """A user's mistake or a broken revision: one line that names it."""


class NothingToCompareError(Exception):
    """The two revisions have no benchmark in common: one line."""

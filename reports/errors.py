"""The ways in which a report can lack something."""


class ReportError(Exception):
    """A user's mistake, worded for the user: one line that names the file and the reason."""

    exit_code = 2


class NothingToCompareError(ReportError):
    """Two good files that have nothing in common."""

    exit_code = 3


class MissingDataError(Exception):
    """The files hold no data for one table or figure, which is then left out with this sentence."""

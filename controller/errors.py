"""
The two ways in which anything here may fail, split by who acts next.

Adapters translate every error of a library into one of these at the edge. What is expected (no data, nothing
to do) is a value, never an error. Messages say where, what was found and what to do; lower case, no full stop.
"""


class PilotError(Exception):
    """Base of both; never raised itself."""


class ConfigError(PilotError):
    """A person must change a file, an argument or a permission. The command line exits with 2."""


class TransientError(PilotError):
    """The next run may succeed unchanged. The command line exits with 75 (EX_TEMPFAIL of sysexits.h)."""

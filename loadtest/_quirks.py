"""Workarounds for Locust 2.47.0. Importing this module applies them."""

from __future__ import annotations

from locust.stats import StatsCSVFileWriter

_write = StatsCSVFileWriter.stats_writer


def _write_until_closed(self: StatsCSVFileWriter) -> None:
    """Stop writing when the files of --csv are closed.

    Locust closes them while the greenlet that writes them once per second still runs. If that wakes before the process
    ends, Locust prints a traceback.
    """
    try:
        _write(self)
    except ValueError:
        if not self.requests_csv_filehandle.closed:
            raise


StatsCSVFileWriter.stats_writer = _write_until_closed  # type: ignore[method-assign]

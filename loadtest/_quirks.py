"""Workarounds for Locust 2.47.0; importing it is enough."""

from __future__ import annotations

from locust.stats import StatsCSVFileWriter

_write = StatsCSVFileWriter.stats_writer


def _write_until_closed(self: StatsCSVFileWriter) -> None:
    """Locust closes the files of --csv while the greenlet that writes them once a second goes on.

    Whether it still gets its turn before the process ends is a matter of chance; if it does, Locust prints a traceback.
    """
    try:
        _write(self)
    except ValueError:
        if not self.requests_csv_filehandle.closed:
            raise


StatsCSVFileWriter.stats_writer = _write_until_closed  # type: ignore[method-assign]

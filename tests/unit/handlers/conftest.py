import logging

import pytest

from tests.unit.handlers.told_lines import ToldLines


@pytest.fixture
def told(caplog):
    """What is told from now on."""
    lines, logger = ToldLines(), logging.getLogger("ts.metrics.caching_metric")
    caplog.set_level(logging.INFO, logger.name)
    logger.addHandler(lines)
    yield lines
    logger.removeHandler(lines)

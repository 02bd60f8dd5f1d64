"""Assertions of the shared suite explain themselves; and a certificate for what is encrypted."""

from pathlib import Path

import pytest

from tests.certificates import make_certificate

pytest.register_assert_rewrite("tests.contract.suite")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))

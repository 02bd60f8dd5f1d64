"""Assertions of the shared suite explain themselves."""

import pytest

pytest.register_assert_rewrite("tests.contract.suite")

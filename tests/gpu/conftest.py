"""Assertions of the shared contract suite explain themselves."""

import pytest

pytest.register_assert_rewrite("tests.contract.suite")

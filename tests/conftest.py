"""Assertions of the contract suites explain themselves as those of tests do."""

import pytest

pytest.register_assert_rewrite("replicator.testing")

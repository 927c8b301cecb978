"""Assertions of the contract suites explain themselves as those of tests do."""

import pytest

for suite in ("chunk_contract", "version_contract", "store_contract", "catalog_contract"):
    pytest.register_assert_rewrite(f"replicator.testing.{suite}")

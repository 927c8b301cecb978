"""Signals as at a terminal; assertions of the contract suites explain themselves as those of tests do."""

import signal

import pytest

# Whoever starts the tests in the background may ignore SIGINT, and every process they start would inherit it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest.register_assert_rewrite("replicator.testing")

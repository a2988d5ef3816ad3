"""Signals that ask a run to stop."""

import os
import signal

import pytest

from runtime_lib import signals


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_once_and_the_next_one_has_its_usual_effect(signum):
    usual = signal.getsignal(signum)
    with signals.stop_on_signals() as stop:
        assert not stop
        os.kill(os.getpid(), signum)
        assert stop
        assert stop.signum == signum
        assert signal.getsignal(signum) == usual
    assert signal.getsignal(signum) == usual

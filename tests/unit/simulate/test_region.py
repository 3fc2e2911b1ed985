"""Watching the broker's memory."""

from __future__ import annotations

import os
import subprocess
import sys

from broker.simulate.region import rss_of


def test_the_memory_of_a_process_is_read_and_of_none_is_unknown() -> None:
    assert (rss_of(os.getpid()) or 0) > 2**20

    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    assert rss_of(gone.pid) is None

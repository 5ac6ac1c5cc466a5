"""S6: once its texts are fetched gptforge needs no network. Where the system does not let us take it away: skipped."""

import random
import shutil
import subprocess
import sys
import unittest
from typing import Any

from faults.ground import ended
from faults.suite import Fault
from small import SMALLEST

# A process with no network but its own, in which it reaches itself: processes of one run talk through that
CUT_OFF = ["unshare", "-rn", "sh", "-c", 'ip link set lo up; exec "$0" "$@"']
SMALL = [f"{key}={value}" for key, value in (SMALLEST | {"train.steps": 2}).items() if not key.startswith("data.")]
CHAIN = (
    ["train", "data=pydoc", *SMALL, "hydra.run.dir=run"],
    ["train", "data=pydoc", *SMALL, "hydra.run.dir=pair", "parallel=ddp", "parallel.nproc=2"],
    ["sample", "ckpt=run", "sample.max_new_tokens=8"],
    ["eval", "ckpt=run"],
    ["prepare", "data=pydoc", "tokenizer=byte"],
    ["info", "data=pydoc"],
    ["doctor"],
)
CONNECT = "import socket; socket.create_connection(('192.0.2.1', 80), 5)"


def offline(draw: random.Random, ground: Any) -> None:
    """Everything from a text that Python itself carries to written and evaluated text."""
    allowed = shutil.which("unshare") and not subprocess.run([*CUT_OFF, "true"], capture_output=True).returncode
    if not allowed:
        raise unittest.SkipTest("unshare -rn is not allowed here")
    tried = subprocess.run([*CUT_OFF, sys.executable, "-c", CONNECT], capture_output=True, text=True, timeout=60)
    assert "Network is unreachable" in tried.stderr, f"the network was not taken away: {tried.stderr}"
    for words in CHAIN:
        done = ended(words, CUT_OFF)
        assert done.code == 0, f"{words} ended with {done.code}: {done.err}"


FAULTS = [Fault("S6", "everything but the fetching of texts works without network", offline, 1, 1)]

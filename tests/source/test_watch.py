"""What is put in the place of the global generators, and when it is not."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import numpy as np

from enqueued.source.generators import watch_generators

legacy: Any = np.random  # the stubs do not know of its bit generator
watch_generators()


def test_copies_of_the_bit_generator_are_numpys_own() -> None:
    """So that they can be sent to any process."""
    bit_generator = legacy.get_bit_generator()
    np.random.seed(3)
    for copied in (copy.deepcopy(bit_generator), pickle.loads(pickle.dumps(bit_generator))):
        assert type(copied) is np.random.MT19937
        assert np.random.RandomState(copied).rand() == np.random.RandomState(3).rand()


def test_nothing_is_watched_where_the_states_lie_otherwise() -> None:
    """Words that are not found where they should be, and another bit generator: then all is left as it is."""
    code = (
        "import random, numpy.random as legacy\n"
        "from enqueued.source import generators\n"
        "former = legacy.get_bit_generator()\n"
        "legacy.set_bit_generator(legacy.PCG64(1))\n"
        "generators.watch_generators()\n"
        "assert generators._watch is None\n"
        "legacy.set_bit_generator(former)\n"
        "generators._memory, memory = (lambda *_: None), generators._memory\n"
        "generators.watch_generators()\n"
        "assert generators._watch is None and legacy.get_bit_generator() is former\n"
        "assert memory(former, id(former) - 8, []) is None\n"
        "assert memory(former, former.ctypes.state_address + 800, []) is None\n"
        "assert memory(former, former.ctypes.state_address, [0] * 625) is None\n"
        "generators._memory = memory\n"
        "legacy.seed(5), random.seed(5)\n"
        "legacy.rand(3), random.random()\n"
        "generators.watch_generators()\n"
        "assert generators._watch is not None\n"
        "ours, theirs = legacy.rand(), legacy.RandomState(5).rand(4)[3]\n"
        "assert ours == theirs\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")

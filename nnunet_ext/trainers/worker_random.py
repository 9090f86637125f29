"""Random numbers in the processes that load batches."""

from __future__ import annotations

import numpy as np
from numpy.random.mtrand import get_bit_generator


def worker_generator() -> np.random.Generator:
    """Give a generator on numpy's global state, which nnU-Net seeds differently in each worker."""
    return np.random.Generator(get_bit_generator())

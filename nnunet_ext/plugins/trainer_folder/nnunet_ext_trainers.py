"""Our trainers for ``nnUNet_extTrainer``, where ``.pth`` files do not run.

nnU-Net imports every file of the folder that the variable names and asks it for the trainer as an attribute. It does
so without a package, hence the search path.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

_ROOT = str(Path(__file__).resolve().parents[3])
if _ROOT not in sys.path:
    sys.path.append(_ROOT)


def __getattr__(name: str) -> type:
    """Return the trainer of that name, of any length (``<trainer>_<N>epochs``)."""
    from nnunet_ext.plugins.lengths import split_length, with_length
    from nnunet_ext.trainers import MODULE_OF_TRAINER

    split = split_length(name)
    base = split[0] if split else name
    if base not in MODULE_OF_TRAINER:
        message = f"nnunet_ext has no trainer {base}"
        raise AttributeError(message)
    trainer: type = getattr(importlib.import_module(MODULE_OF_TRAINER[base]), base)
    return with_length(trainer, name) if split else trainer

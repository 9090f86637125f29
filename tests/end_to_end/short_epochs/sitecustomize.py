"""Lets every trainer of nnU-Net do few iterations per epoch, in a process that has this folder on its PYTHONPATH.

Python imports a module of this name when it starts. nnU-Net has no variable for it, and commands stay as they are.
"""

from __future__ import annotations

import functools
import os
import sys
from importlib.util import find_spec
from typing import Any

TRAINER = "nnunetv2.training.nnUNetTrainer.nnUNetTrainer"
VARIABLE = "TEST_ITERATIONS"
"""Iterations of training and of validation, separated by a blank."""


class Finder:
    """Waits for the module of the trainer, then leaves."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> Any:
        if name != TRAINER:
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_shorten(module: Any) -> None:
            execute(module)
            shorten(module.nnUNetTrainer)

        spec.loader.exec_module = execute_and_shorten  # type: ignore[method-assign]
        return spec


def shorten(trainer: Any) -> None:
    """Set the iterations after nnU-Net did; what a subclass sets later stands."""
    prepare = trainer.__init__

    @functools.wraps(prepare)
    def prepare_short(self: Any, *args: Any, **kwargs: Any) -> None:
        prepare(self, *args, **kwargs)
        self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = map(int, os.environ[VARIABLE].split())

    trainer.__init__ = prepare_short


if VARIABLE in os.environ:
    sys.meta_path.insert(0, Finder())

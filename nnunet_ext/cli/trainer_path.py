"""Print the folder of re-exported trainers, for ``export nnUNet_extTrainer=$(nnunet_ext trainer_path)``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def trainer_path() -> Path:
    """Return the folder that ``nnUNet_extTrainer`` has to name where ``.pth`` files do not run."""
    return Path(__file__).resolve().parents[1] / "plugins" / "trainer_folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare no flags."""


def run(args: argparse.Namespace) -> None:
    """Print the folder."""
    print(trainer_path())

"""The soil workflow on a generated phantom, from tif stacks to scores, through stock nnU-Net commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    add = parser.add_argument
    add(
        "-o",
        dest="output",
        type=Path,
        default=Path("nnunet_ext_demo"),
        help="folder for all that the demo makes",
    )
    add("-device", choices=("cpu", "cuda", "mps"), default="cpu", help="where nnU-Net trains and predicts")
    add("--epochs", type=int, default=3, help="length of the training; 250 iterations each")
    add("--overwrite", action="store_true", help="replace the folder of an earlier demo")


def run(args: argparse.Namespace) -> None:
    """Run the demo, and print scores, places and commands."""
    from nnunet_ext.demo.run import run_demo

    def say(text: str) -> None:
        print(text, flush=True)

    say(run_demo(args.output, say=say, device=args.device, epochs=args.epochs, overwrite=args.overwrite))

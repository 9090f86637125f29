"""Whether new plans have what is to be trained.

Run by a task: ``python -m nnunet_ext.cluster.check_plans DATASET PLANS CONFIGURATION …``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from nnunet_ext.cluster.dataset import find_dataset, read_configurations
from nnunet_ext.command import exit_with
from nnunet_ext.errors import InputError, listed

if TYPE_CHECKING:
    from collections.abc import Sequence


def check_plans(dataset: str, plans: str, configurations: Sequence[str]) -> None:
    """Raise ``InputError`` if there are no such plans, or they lack a configuration."""
    found = find_dataset(dataset)
    known = read_configurations(found, plans)
    path = found.preprocessed / f"{plans}.json"
    if known is None:
        others = {"dataset", "dataset_fingerprint", "splits_final"}
        there = sorted({file.stem for file in found.preprocessed.glob("*.json")} - others)
        message = (
            f"{path}: the planner (-pl) wrote no such plans; give the name of its plans (-p), found: {listed(there)}"
        )
        raise InputError(message)
    if missing := [name for name in configurations if name not in known]:
        message = (
            f"{path}: the planner made no {', '.join(missing)}, only {', '.join(known)}; submit without it (-c). "
            "nnU-Net leaves 3d_lowres and the cascade out where images are small."
        )
        raise InputError(message)


if __name__ == "__main__":
    exit_with("nnunet_ext.cluster.check_plans", lambda: check_plans(sys.argv[1], sys.argv[2], sys.argv[3:]))

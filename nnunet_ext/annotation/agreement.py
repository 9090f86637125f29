"""How far two annotators agree: voxels that both annotated, Dice and Cohen's kappa per class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ALL = "all"


@dataclass(frozen=True)
class Agreement:
    """Agreement on one class, or on all of them.

    Parameters
    ----------
    id
        The class; None for all classes together.
    first, second
        Voxels of the class in each annotation.
    both_first, both_second
        The same, among the voxels that both annotated, whatever they wrote.
    agreed
        Voxels that both gave this class.
    dice
        ``2 agreed / (both_first + both_second)``; over all classes the share of voxels with the same class. None
        where neither used it.
    kappa
        Cohen's kappa of this class against the others; None where chance alone explains everything.
    """

    id: int | None
    first: int
    second: int
    both_first: int
    both_second: int
    agreed: int
    dice: float | None
    kappa: float | None


def agreements(confusion: NDArray[np.int64]) -> list[Agreement]:
    """Return the agreement on all classes together, and on each class that occurs.

    Parameters
    ----------
    confusion
        ``confusion[i, j]``: voxels to which the first annotator gave id i and the second id j; 0 is not annotated.

    References
    ----------
    J. Cohen: A coefficient of agreement for nominal scales. Educ. Psychol. Meas. 20, 37-46 (1960).
    """
    both = confusion[1:, 1:]
    total, agreed = int(both.sum()), int(np.trace(both))
    share = agreed / total if total else None
    chance = float(both.sum(axis=1) @ both.sum(axis=0)) / total**2 if total else 1.0
    rows = [
        Agreement(
            None,
            int(confusion[1:].sum()),
            int(confusion[:, 1:].sum()),
            total,
            total,
            agreed,
            share,
            _kappa(share, chance),
        )
    ]
    used = np.flatnonzero(confusion.sum(axis=0) + confusion.sum(axis=1))
    return rows + [_of_class(confusion, int(value), total) for value in used if value != 0]


def _of_class(confusion: NDArray[np.int64], value: int, total: int) -> Agreement:
    both = confusion[1:, 1:]
    first, second = int(both[value - 1].sum()), int(both[:, value - 1].sum())
    agreed = int(confusion[value, value])
    same = (total - first - second + 2 * agreed) / total if total else None
    chance = (first * second + (total - first) * (total - second)) / total**2 if total else 1.0
    return Agreement(
        id=value,
        first=int(confusion[value].sum()),
        second=int(confusion[:, value].sum()),
        both_first=first,
        both_second=second,
        agreed=agreed,
        dice=2 * agreed / (first + second) if first + second else None,
        kappa=_kappa(same, chance),
    )


def _kappa(share: float | None, chance: float) -> float | None:
    return None if share is None or chance >= 1 else (share - chance) / (1 - chance)

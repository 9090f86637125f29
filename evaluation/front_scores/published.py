"""Published mean distance errors on the test set of the CaFFe benchmark, to compare with."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A published result: metres, with the standard deviation over its training runs where that is known."""

    name: str
    mde: float
    source: str
    std: float = math.nan


_BENCHMARK = "Gourmelon et al. 2022, Earth Syst. Sci. Data 14"
_NNUNET = "Herrmann et al. 2023, The Cryosphere 17"

PUBLISHED = (
    Published("CaFFe baseline, front", 887, _BENCHMARK),
    Published("CaFFe baseline, zones", 753, _BENCHMARK, 76),
    Published("nnU-Net, zones alone", 1184, _NNUNET, 225),
    Published("nnU-Net, front alone", 1103, _NNUNET, 72),
    Published("nnU-Net, early branching, front head", 560, _NNUNET),
    Published("nnU-Net, late branching, front head", 568, _NNUNET),
    Published("nnU-Net, fused labels", 541, _NNUNET, 84),
    Published("nnU-Net, late branching, zones head", 517, _NNUNET),
    Published("nnU-Net, early branching, zones head", 509, _NNUNET),
    Published("AMD-HookNet", 438, "Wu et al. 2023, IEEE TGRS 61"),
    Published("AMD-HookNet++", 367, "Wu et al. 2025, arXiv 2512.14639"),
    Published("HookFormer", 353, "Wu et al. 2024, IEEE TGRS 62"),
    Published("SSL4SAR", 293, "Gourmelon et al. 2025, IEEE TGRS, arXiv 2507.01747"),
    Published("multi-temporal Tyrion", 184, "Dreier et al. 2025, arXiv 2512.11560"),
)

SETTING = (
    "They are mean distance errors on the 122 test images of the benchmark, and compare with errors on these images "
    "alone. None is penalised, and the number of images without front differs between papers."
)

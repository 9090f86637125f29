"""The tasks that calving front data can be converted to: one table of datasets and their label maps."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from nnunet_ext.caffe.grey_levels import BOUNDARY, FRONT, ZONES
from nnunet_ext.errors import InputError
from nnunet_ext.multitask.joint_labels import JointLabels
from nnunet_ext.multitask.tasks import Task

if TYPE_CHECKING:
    from collections.abc import Mapping

SOURCE = "caffe"
CHANNEL = "SAR"
INFERENCE = "inference"
FUSED_FRONT = 4
"""Class of the front where it is painted over the zones, behind their own four."""


@dataclass(frozen=True)
class Part:
    """A kind of label map.

    Parameters
    ----------
    levels
        Grey level of each class in pictures, in the order of the classes.
    suffix
        Of its pictures, behind the stem.
    is_line
        Whether it is a line, which is dilated for training and whose loss looks at the full resolution only.
    """

    levels: Mapping[str, int]
    suffix: str
    is_line: bool


PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "front": Part(FRONT, "_front", is_line=True),
        "zones": Part(ZONES, "_zone", is_line=False),
        "boundary": Part(BOUNDARY, "_boundary", is_line=True),
    }
)


@dataclass(frozen=True)
class CaffeTask:
    """What a dataset is for.

    Parameters
    ----------
    name
        As the command line has it.
    parts
        Its label maps, in order; none for images alone.
    dataset_id, dataset_name
        Of the dataset, if the user does not choose others.
    is_fused
        Whether the front is painted over the zones, as a class of its own.
    """

    name: str
    parts: tuple[str, ...]
    dataset_id: int | None = None
    dataset_name: str | None = None
    is_fused: bool = False

    @property
    def label_folders(self) -> tuple[str, ...]:
        """Folders of the benchmark that hold its label maps: a boundary is made of the zones."""
        return tuple(folder for part, folder in (("front", "fronts"), ("zones", "zones")) if part in self.parts)

    @property
    def layers(self) -> tuple[Task, ...]:
        """Classes of the label maps as the network learns them; a fused one is a single map."""
        if self.is_fused:
            return (Task(self.name, (*ZONES, "front")),)
        return tuple(
            Task(part, tuple(PARTS[part].levels), deep_supervision=not PARTS[part].is_line) for part in self.parts
        )

    @property
    def joint(self) -> JointLabels | None:
        """How several label maps become one; None where there is one only."""
        return JointLabels(self.layers) if len(self.layers) > 1 else None

    @property
    def labels(self) -> JointLabels | dict[str, int]:
        """Labels of dataset.json. Of one label map, class 0 bears the name that nnU-Net asks for."""
        if self.joint is not None:
            return self.joint
        return {"background": 0} | {name: value for value, name in enumerate(self.layers[0].classes) if value}


TASKS: Mapping[str, CaffeTask] = MappingProxyType(
    {
        task.name: task
        for task in (
            CaffeTask("fused", ("front", "zones"), 500, "CaFFeFused", is_fused=True),
            CaffeTask("front", ("front",), 501, "CaFFeFront"),
            CaffeTask("zones", ("zones",), 502, "CaFFeZones"),
            CaffeTask("mtl", ("front", "zones"), 503, "CaFFeMTL"),
            CaffeTask("mtl_recon", ("front", "zones"), 504, "CaFFeMTLRecon"),
            CaffeTask("mtl_boundary", ("front", "zones", "boundary"), 505, "CaFFeMTLBoundary"),
            CaffeTask(INFERENCE, ()),
        )
    }
)


def task_by_name(name: object) -> CaffeTask:
    """Return a row of the table.

    Raises
    ------
    InputError
        If there is no such task.
    """
    if not isinstance(name, str) or name not in TASKS:
        message = f"unknown task {name!r}; expected one of {', '.join(TASKS)}"
        raise InputError(message)
    return TASKS[name]


def task_by_classes(counts: tuple[int, ...]) -> CaffeTask | None:
    """Return the first task whose label maps have so many classes each, or None."""
    with_labels = (task for task in TASKS.values() if task.parts)
    return next((task for task in with_labels if tuple(t.num_classes for t in task.layers) == counts), None)

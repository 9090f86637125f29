"""Joint labels: one integer map that encodes the label maps of all tasks, and the way back.

A joint label is ``numpy.ravel_multi_index(stack, dims)``, where ``dims`` holds the number of values per task: its
classes, and one more if it has an ignore value. A voxel that is not annotated for any task has the ignore label, the
number after the last code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from nnunet_ext.errors import InputError
from nnunet_ext.multitask.tasks import IGNORE, SEPARATOR, Task, tasks_from_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    Array = TypeVar("Array", NDArray[Any], torch.Tensor)

MAX_CODES = 32767
"""nnU-Net stores labels as 16-bit integers with sign, and the ignore label needs a number as well."""

BACKGROUND = "background"


@dataclass(frozen=True)
class JointLabels:
    """The tasks of a dataset and how their label maps become one.

    Parameters
    ----------
    tasks
        The tasks in order.
    all_ignored
        Whether voxels may lack annotation in all tasks at once. Always so where a task has an ignore value.

    Raises
    ------
    InputError
        If there is no task, two have one name, or there are more than 32767 codes.
    """

    tasks: tuple[Task, ...]
    all_ignored: bool = False

    def __post_init__(self) -> None:
        names = [task.name for task in self.tasks]
        if not names or len(set(names)) < len(names):
            message = f"expected at least one task and different names, found {names}"
            raise InputError(message)
        if self.num_codes > MAX_CODES:
            product = " × ".join(f"{task.num_values} ({task.name})" for task in self.tasks)
            message = (
                f"the tasks make {product} = {self.num_codes} joint labels, but nnU-Net's 16-bit labels hold "
                f"{MAX_CODES}: leave out a task or merge classes"
            )
            raise InputError(message)
        if any(task.ignore for task in self.tasks):
            object.__setattr__(self, "all_ignored", True)

    @property
    def dims(self) -> tuple[int, ...]:
        """Number of values per task, ignore value included."""
        return tuple(task.num_values for task in self.tasks)

    @property
    def strides(self) -> tuple[int, ...]:
        """What a joint label grows by when the value of a task grows by one."""
        return tuple(math.prod(self.dims[i + 1 :]) for i in range(len(self.dims)))

    @property
    def num_codes(self) -> int:
        """Number of joint labels, without the ignore label."""
        return math.prod(self.dims)

    @property
    def ignore_label(self) -> int | None:
        """Label of voxels that are not annotated for any task, or None if there are none."""
        return self.num_codes if self.all_ignored else None

    @property
    def ignore_values(self) -> tuple[int | None, ...]:
        """Per task the value that means "not annotated" in its channel of a stack, or None if there is none."""
        return tuple(task.ignore_value if self.all_ignored else None for task in self.tasks)

    @property
    def heads(self) -> tuple[int, ...]:
        """Number of output channels per task."""
        return tuple(task.num_classes for task in self.tasks)

    @property
    def head_slices(self) -> tuple[slice, ...]:
        """Output channels of each task among those of all tasks."""
        ends = np.cumsum(self.heads).tolist()
        return tuple(slice(end - head, end) for end, head in zip(ends, self.heads, strict=True))

    def encode(self, stack: Array) -> Array:
        """Turn a stack into its joint label.

        Parameters
        ----------
        stack
            Integers of shape (T, …): one label map per task, in task order.

        Returns
        -------
        ndarray of uint16, or Tensor of int16
            Joint label of shape (…).

        Raises
        ------
        InputError
            If there is not one label map per task, a value is none of its task, or a voxel is ignored in some
            tasks while another, which is not, has classes but no way to say so: a task without ignore value can
            only be ignored together with all others.
        """
        if len(stack) != len(self.tasks):
            message = f"expected {len(self.tasks)} label maps ({', '.join(self.names)}), found {len(stack)}"
            raise InputError(message)
        values = _int32(stack)
        code: Any = values[0] * 0
        all_ignored: Any = code == 0
        for task, stride, given, channel in zip(self.tasks, self.strides, stack, values, strict=True):
            self._check_values(task, given, channel)
            code = code + channel * stride
            all_ignored = all_ignored & (channel == task.ignore_value)
        if self.ignore_label is not None:
            self._check_partly_ignored(values, all_ignored)
            code = code + all_ignored * (self.ignore_label - code)
        joint: Array = _label_type(code)
        return joint

    def decode(self, joint: Array) -> Array:
        """Take a joint label apart.

        Parameters
        ----------
        joint
            Joint labels of any shape, as integers or whole floating-point numbers.

        Returns
        -------
        ndarray or Tensor of int16
            Stack of shape (T, …). Where all tasks are ignored, each channel has its task's ignore value.

        Raises
        ------
        InputError
            If a value is none of the dataset's joint labels.
        """
        codes = _int32(joint)
        self._check_codes(joint, codes)
        stack: Array = _empty_stack(codes, len(self.tasks))
        for channel, (task, stride) in enumerate(zip(self.tasks, self.strides, strict=True)):
            stack[channel] = codes // stride % task.num_values
        if self.ignore_label is not None:
            ignored = codes == self.ignore_label
            if bool(ignored.any()):
                for channel, task in enumerate(self.tasks):
                    stack[channel, ignored] = task.ignore_value
        return stack

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(task.name for task in self.tasks)

    def region(self, task_index: int, value: int) -> tuple[int, ...]:
        """Return the joint labels of all voxels that have ``value`` in a task."""
        codes = np.arange(self.num_codes).reshape(self.dims)
        return tuple(int(code) for code in np.take(codes, value, axis=task_index).ravel())

    def to_labels(self) -> dict[str, int | list[int]]:
        """Return ``labels`` as dataset.json has it: a region of joint labels per class of each task."""
        labels: dict[str, int | list[int]] = {BACKGROUND: 0}
        for index, task in enumerate(self.tasks):
            names = [*task.classes, IGNORE] if task.ignore else list(task.classes)
            for value, name in list(enumerate(names))[1:]:
                labels[f"{task.name}{SEPARATOR}{name}"] = list(self.region(index, value))
        if self.ignore_label is not None:
            labels[IGNORE] = self.ignore_label
        return labels

    def to_dataset_json(self) -> dict[str, Any]:
        """Return ``tasks``, ``labels`` and ``regions_class_order`` of dataset.json."""
        labels = self.to_labels()
        regions = sum(isinstance(value, list) for value in labels.values())
        return {
            "tasks": {task.name: task.to_json() for task in self.tasks},
            "labels": labels,
            "regions_class_order": list(range(1, regions + 1)),
        }

    def _check_values(self, task: Task, given: Any, channel: Any) -> None:
        highest = task.ignore_value if self.all_ignored else task.num_classes - 1
        found = _values_outside(given, channel, highest)
        if found:
            message = f"task {task.name!r} has the values {found}, expected {dict(enumerate(task.classes))}"
            raise InputError(message)

    def _check_partly_ignored(self, values: Any, all_ignored: Any) -> None:
        for task, channel in zip(self.tasks, values, strict=True):
            if not task.ignore and bool(((channel == task.ignore_value) & ~all_ignored).any()):
                message = (
                    f"task {task.name!r} is ignored in voxels where another task is not, "
                    "but has no ignore value of its own: end its labels with 'ignore'"
                )
                raise InputError(message)

    def _check_codes(self, joint: Any, codes: Any) -> None:
        highest = self.num_codes - (self.ignore_label is None)
        found = _values_outside(joint, codes, highest)
        if found:
            message = f"found the values {found}, expected joint labels from 0 to {highest} of {self.names}"
            raise InputError(message)


def from_dataset_json(dataset_json: Mapping[str, Any], source: str = "dataset.json") -> JointLabels:
    """Read the tasks of a dataset.

    Parameters
    ----------
    dataset_json
        Content of dataset.json.
    source
        Name of the file, for messages.

    Raises
    ------
    InputError
        If it has no tasks, or its ``labels`` are not what its tasks make.
    """
    if "tasks" not in dataset_json:
        message = (
            f"{source} has no 'tasks', so this is not a dataset with several label maps per case. "
            "`nnunet_ext stack` makes one out of images and label maps."
        )
        raise InputError(message)
    labels = dataset_json.get("labels", {})
    joint = JointLabels(tasks_from_json(dataset_json["tasks"], source), all_ignored=IGNORE in labels)
    if joint.to_labels() != labels:
        message = (
            f"{source}: 'labels' is not what its 'tasks' make; expected {joint.to_labels()}, found {labels}. "
            "Let `nnunet_ext stack` write it."
        )
        raise InputError(message)
    return joint


def from_labels(labels: Mapping[str, Any]) -> JointLabels:
    """Recover the tasks from ``labels``, which is all that nnU-Net hands to a label manager.

    The order of tasks and classes follows from the joint labels, not from the order of the entries.

    Parameters
    ----------
    labels
        As `JointLabels.to_labels` gives it.

    Returns
    -------
    JointLabels
        With the true names of tasks and classes, except that the first class of each is called background.

    Raises
    ------
    InputError
        If these are no labels of that kind.
    """
    regions = {name: value for name, value in labels.items() if name not in (BACKGROUND, IGNORE)}
    if not regions or not all(SEPARATOR in name and _is_region(value) for name, value in regions.items()):
        raise InputError(_not_joint(labels))
    lowest_codes: dict[str, dict[int, str]] = {}
    for full_name, codes in regions.items():
        task, _, name = full_name.partition(SEPARATOR)
        lowest_codes.setdefault(task, {})[min(codes)] = name
    by_stride = sorted(lowest_codes.items(), key=lambda item: min(item[1]), reverse=True)
    tasks = []
    for task, classes in by_stride:
        names = [classes[code] for code in sorted(classes)]
        has_ignore = names[-1] == IGNORE
        tasks.append(Task(task, (_background_name(names), *names[: len(names) - has_ignore]), has_ignore))
    joint = JointLabels(tuple(tasks), all_ignored=IGNORE in labels)
    if joint.to_labels() != dict(labels):
        raise InputError(_not_joint(labels))
    return joint


def _background_name(names: Sequence[str]) -> str:
    """Return a name for a task's first class that none of the others has."""
    name = BACKGROUND
    while name in names:
        name = f"({name})"
    return name


def _is_region(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(code, int) for code in value)


def _not_joint(labels: Mapping[str, Any]) -> str:
    return (
        f"expected labels of several tasks, named '<task>{SEPARATOR}<class>' and made of joint labels, found "
        f"{dict(labels)}. `nnunet_ext stack` makes such a dataset."
    )


def _int32(values: Any) -> Any:
    if not isinstance(values, np.ndarray):
        return values.int()
    with np.errstate(invalid="ignore"):  # NaN is found afterwards, see _values_outside
        return values.astype(np.int32)


def _values_outside(given: Any, as_integers: Any, highest: int) -> list[float]:
    """Return up to ten values that are not 0, 1, … ``highest``, the way they were before they became integers."""
    if 0 in as_integers.shape:
        return []
    if int(as_integers.min()) >= 0 and int(as_integers.max()) <= highest and not bool((given != as_integers).any()):
        return []
    values = np.unique(given if isinstance(given, np.ndarray) else given.cpu().numpy())
    return [value.item() for value in values if value.item() not in range(highest + 1)][:10]


def _label_type(codes: Any) -> Any:
    # torch has arithmetic for signed 16 bits only, and nnU-Net itself stays below 32768 with it
    return codes.astype(np.uint16) if isinstance(codes, np.ndarray) else codes.short()


def _empty_stack(codes: Any, channels: int) -> Any:
    if isinstance(codes, np.ndarray):
        return np.empty((channels, *codes.shape), np.int16)
    return codes.new_empty((channels, *codes.shape)).short()

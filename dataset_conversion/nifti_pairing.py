"""Put the files of cases together, by the names that patterns found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataset_conversion.case_patterns import match_patterns, similar_name_problems
from dataset_conversion.nifti_case import NiftiCase
from nnunet_ext.errors import InputError, listed
from nnunet_ext.imageio.names import natural_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Patterns:
    """Where the files of cases are, see ``case_patterns.match_patterns``.

    Parameters
    ----------
    images
        One per channel.
    label
        Of label maps, if there are any.
    masks
        Of masks, by the name of their class.
    test_images, test_label
        The same for test cases, which need no label map.
    """

    images: tuple[str, ...]
    label: str | None = None
    masks: tuple[tuple[str, str], ...] = ()
    test_images: tuple[str, ...] = ()
    test_label: str | None = None


def find_nifti_cases(
    folder: Path, patterns: Patterns, *, unlabelled_as_test: bool = False, missing_ok: bool = False
) -> tuple[list[NiftiCase], list[str]]:
    """Return the cases that have all their files, and one message for each that has not.

    Parameters
    ----------
    folder
        Where the patterns begin.
    patterns
        Of the files.
    unlabelled_as_test
        Take cases without label map or masks as test cases.
    missing_ok
        Take a mask that has no file as one without voxels.

    Raises
    ------
    MissingInputError, InputError, BadCasesError
        As ``match_patterns``.
    """
    _check(patterns)
    titles = {f"image {pattern}": pattern for pattern in patterns.images}
    if patterns.label is not None:
        titles[f"label {patterns.label}"] = patterns.label
    titles |= {f"mask {name} {pattern}": pattern for name, pattern in patterns.masks}
    test_titles = {f"test image {pattern}": pattern for pattern in patterns.test_images}
    if patterns.test_label is not None:
        test_titles[f"test label {patterns.test_label}"] = patterns.test_label
    everything = [*titles.values(), *test_titles.values()]
    found = dict(zip([*titles, *test_titles], match_patterns(folder, everything), strict=True))

    problems, similar = similar_name_problems(found)
    train, more = _training_cases(
        {title: found[title] for title in titles},
        patterns,
        similar,
        unlabelled_as_test=unlabelled_as_test,
        missing_ok=missing_ok,
    )
    problems += more
    test, more = _test_cases({title: found[title] for title in test_titles}, patterns, similar)
    problems += more
    both = {files.case for files in train} & {files.case for files in test}
    problems += [f"case '{case}' is a training case and a test case, expected one of the two" for case in sorted(both)]
    return [*train, *test], problems


def _check(patterns: Patterns) -> None:
    if not patterns.images:
        message = "no images: give --image PATTERN, once per channel"
        raise InputError(message)
    for flag, given in (("--image", patterns.images), ("--test-image", patterns.test_images)):
        if len(set(given)) < len(given):
            message = f"{flag}: the same pattern is given more than once ({', '.join(given)}), expected one per channel"
            raise InputError(message)
    if patterns.label is None and not patterns.masks:
        message = "no label maps: give --label PATTERN, or --masks NAME=PATTERN for each class"
        raise InputError(message)
    if patterns.test_images and len(patterns.test_images) != len(patterns.images):
        message = (
            f"{len(patterns.test_images)} of --test-image given, expected {len(patterns.images)}: one per channel, in "
            "the order of --image"
        )
        raise InputError(message)
    if patterns.test_label is not None and not patterns.test_images:
        message = "--test-label: give --test-image with it"
        raise InputError(message)


def _training_cases(
    found: Mapping[str, Mapping[str, Path]],
    patterns: Patterns,
    similar: set[str],
    *,
    unlabelled_as_test: bool,
    missing_ok: bool,
) -> tuple[list[NiftiCase], list[str]]:
    files = list(found.values())
    count = len(patterns.images)
    images, labels = files[:count], files[count] if patterns.label is not None else None
    masks = dict(zip([name for name, _ in patterns.masks], files[count + (labels is not None) :], strict=True))
    cases, problems = [], []
    for case in _names(found):
        if case in similar:
            continue
        missing = [title for title, by_case in found.items() if case not in by_case]
        lacks_images = any(case not in by_case for by_case in images)
        unlabelled = all(case not in by_case for by_case in files[count:])
        if unlabelled and not lacks_images and unlabelled_as_test:
            cases.append(NiftiCase(case, tuple(by_case[case] for by_case in images), is_test=True))
            continue
        if missing_ok:
            missing = [title for title in missing if not title.startswith("mask ")]
        if missing:
            there = listed(str(by_case[case]) for by_case in files if case in by_case)
            way_out = _way_out(missing, unlabelled=unlabelled and not lacks_images)
            problems.append(f"case '{case}': no {listed(missing)}; there is {there}{way_out}")
            continue
        label = labels[case] if labels is not None else None
        of_case = {name: by_case.get(case) for name, by_case in masks.items()}
        cases.append(NiftiCase(case, tuple(by_case[case] for by_case in images), label, of_case))
    return cases, problems


def _test_cases(
    found: Mapping[str, Mapping[str, Path]], patterns: Patterns, similar: set[str]
) -> tuple[list[NiftiCase], list[str]]:
    files = list(found.values())
    images = files[: len(patterns.test_images)]
    labels: Mapping[str, Path] = files[-1] if patterns.test_label is not None else {}
    cases, problems = [], []
    for case in _names(found):
        missing = [title for title, by_case in found.items() if case not in by_case and title.startswith("test image ")]
        if case in similar:
            continue
        if missing:
            there = listed(str(by_case[case]) for by_case in files if case in by_case)
            problems.append(f"case '{case}': no {listed(missing)}; there is {there}")
        else:
            cases.append(NiftiCase(case, tuple(by_case[case] for by_case in images), labels.get(case), is_test=True))
    return cases, problems


def _names(found: Mapping[str, Mapping[str, Path]]) -> list[str]:
    return sorted({case for by_case in found.values() for case in by_case}, key=natural_key)


def _way_out(missing: Sequence[str], *, unlabelled: bool) -> str:
    if unlabelled:
        return ". Give --unlabelled-as-test if it is a test case"
    if all(title.startswith("mask ") for title in missing):
        return ". Give --missing-ok if a missing mask has no voxels"
    return ""

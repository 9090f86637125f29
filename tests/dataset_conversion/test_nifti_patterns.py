"""Patterns of file names, names of cases, classes and regions."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataset_conversion.case_patterns import case_name_problem, match_patterns, similar_name_problems
from dataset_conversion.nifti_classes import (
    Classes,
    classes_from_values,
    parse_classes,
    parse_regions,
    region_labels,
)
from nnunet_ext.errors import BadCasesError, InputError

if TYPE_CHECKING:
    from pathlib import Path


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def found(folder: Path, *patterns: str) -> list[dict[str, str]]:
    return [
        {case: path.relative_to(folder).as_posix() for case, path in files.items()}
        for files in match_patterns(folder, patterns)
    ]


def test_the_case_is_a_folder_a_file_or_both(tmp_path):
    touch(tmp_path, "P1/P1.nii.gz", "P1/GT.nii.gz", "P2/P2.nii.gz", "P2/P1.nii.gz", "P2/GT.nii.gz", "notes.txt")
    assert found(tmp_path, "{case}/{case}.nii.gz", "{case}/GT.nii.gz") == [
        {"P1": "P1/P1.nii.gz", "P2": "P2/P2.nii.gz"},
        {"P1": "P1/GT.nii.gz", "P2": "P2/GT.nii.gz"},
    ]


def test_text_around_the_case_in_any_part(tmp_path):
    touch(tmp_path, "sub-01/anat/sub-01_T1w.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz", "sub-02/anat/sub-01_T1w.nii.gz")
    assert found(tmp_path, "sub-{case}/anat/sub-{case}_T1w.nii.gz") == [
        {"01": "sub-01/anat/sub-01_T1w.nii.gz", "02": "sub-02/anat/sub-02_T1w.nii.gz"}
    ]


def test_dots_and_brackets_of_names_are_plain_text(tmp_path):
    touch(tmp_path, "a.b(1)[x]/image.nii", "a.b(1)[x]/imageXnii.nii")
    assert found(tmp_path, "{case}/image.nii") == [{"a.b(1)[x]": "a.b(1)[x]/image.nii"}]


def test_brackets_of_patterns_are_plain_text(tmp_path):
    touch(tmp_path, "P1 (1).nii", "P2 1.nii", "P3 (1)xnii.nii")
    assert found(tmp_path, "{case} (1).nii") == [{"P1": "P1 (1).nii"}]


def test_a_star_stands_for_any_text(tmp_path):
    touch(tmp_path, "P1/2019/CT.nii.gz", "P2/2021/CT.nii", "P3/2021/PET.nii")
    assert found(tmp_path, "{case}/*/CT.nii*") == [{"P1": "P1/2019/CT.nii.gz", "P2": "P2/2021/CT.nii"}]
    touch(tmp_path, "P1/2020/CT.nii.gz")
    with pytest.raises(BadCasesError, match=r"2 files of case 'P1', expected one: .*2019.*2020"):
        found(tmp_path, "{case}/*/CT.nii*")


def test_a_file_belongs_to_the_pattern_that_says_most(tmp_path):
    touch(tmp_path, "a_image.nii.gz", "a.nii.gz", "b_image.nii.gz", "b.nii.gz")
    expected = [{"a": "a_image.nii.gz", "b": "b_image.nii.gz"}, {"a": "a.nii.gz", "b": "b.nii.gz"}]
    assert found(tmp_path, "{case}_image.nii.gz", "{case}.nii.gz") == expected
    assert found(tmp_path, "{case}.nii.gz", "{case}_image.nii.gz") == expected[::-1]


def test_cases_are_in_natural_order(tmp_path):
    touch(tmp_path, "P10.nii", "P2.nii", "P1.nii")
    assert list(found(tmp_path, "{case}.nii")[0]) == ["P1", "P2", "P10"]


def test_hidden_files_are_no_match(tmp_path):
    touch(tmp_path, "._P1.nii.gz", ".P2/image.nii.gz", "P1.nii.gz")
    assert found(tmp_path, "{case}.nii.gz") == [{"P1": "P1.nii.gz"}]
    with pytest.raises(BadCasesError, match="no file of its own"):
        found(tmp_path, "{case}/image.nii.gz")


def test_a_pattern_without_match_says_what_is_there(tmp_path):
    touch(tmp_path, "P1.nii.gz", "README")
    text = "no file of its own for the pattern '{case}.mha'; the folder holds P1.nii.gz, README"
    with pytest.raises(BadCasesError, match=re.escape(text)):
        found(tmp_path, "{case}.mha")


def test_files_that_are_no_volumes_are_named(tmp_path):
    touch(tmp_path, "P1.hdr", "P1.img")
    with pytest.raises(BadCasesError, match=r"P1\.img: expected volumes.*nii_to_niigz"):
        found(tmp_path, "{case}.img")


@pytest.mark.parametrize(
    "pattern", ["image.nii.gz", "../{case}.nii.gz", "/data/{case}.nii.gz", "{case}/../x.nii", "a\\{case}.nii"]
)
def test_a_pattern_is_a_path_within_the_folder(tmp_path, pattern):
    inside = touch(tmp_path / "inside", "P1.nii.gz", "P1/x.nii")
    touch(tmp_path, "P1.nii.gz")
    with pytest.raises(InputError, match="expected a path within the folder"):
        match_patterns(inside, [pattern])


@pytest.mark.parametrize(
    "pattern", ["{case}{case}.nii", "{case}*.nii", "*{case}.nii", "{id}_{case}.nii", "{case}.{ending}"]
)
def test_unclear_patterns_are_refused(tmp_path, pattern):
    with pytest.raises(InputError, match=re.escape(f"pattern '{pattern}'")):
        match_patterns(touch(tmp_path, "a.nii"), [pattern])


def test_the_same_pattern_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="given more than once"):
        match_patterns(touch(tmp_path, "a.nii"), ["{case}.nii", "{case}.nii"])


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "a\nb", "a\0"])
def test_names_that_are_no_file_names(name):
    assert "cannot be the name of a case" in (case_name_problem(name) or "")


@pytest.mark.parametrize("name", ["P1", "a.b", "Case 1", "x..y", "ü(2)"])
def test_names_that_are_file_names(name):
    assert case_name_problem(name) is None


def test_similar_names_are_found_in_groups():
    problems, names = similar_name_problems({"images": ["P1", "P2", "x"], "labels": ["p01", "P2", "y"]})
    assert names == {"P1", "p01"}
    assert len(problems) == 1
    assert "'P1' (images), 'p01' (labels)" in problems[0]


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=5, unique=True))
def test_different_numbers_are_different_names(numbers):
    assert similar_name_problems({"images": [f"case_{number}" for number in numbers]}) == ([], set())


def test_names_have_the_values_that_follow():
    assert parse_classes(["a", "b=5", "c"]) == Classes({"a": 1, "b": 5, "c": 6})
    assert parse_classes(["background", "a", "ignore"]) == Classes({"a": 1}, (), 2)
    assert parse_classes(["background=0", "a"]).labels == {"background": 0, "a": 1}


def test_masks_come_behind_classes_and_ignore_last():
    classes = parse_classes(["a=3", "ignore=9"], ["m", "n"])
    assert classes.labels == {"background": 0, "a": 1, "m": 2, "n": 3, "ignore": 4}
    assert classes.label_of_value == {0: 0, 3: 1, 9: 4}


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a=1", "b=1"], "value 1 is taken"),
        (["a=0"], "value 0 is taken"),
        (["a", "a"], "'a' is there twice"),
        (["a=x"], "expected NAME or NAME=VALUE"),
        (["a=-1"], "expected NAME or NAME=VALUE"),
        (["a", "background"], "'background' can only be the first"),
        (["ignore", "a"], "'ignore' the last"),
        (["a", " "], "expected a name of its own"),
    ],
)
def test_unusable_classes(names, text):
    with pytest.raises(InputError, match=text):
        parse_classes(names)


def test_a_mask_cannot_have_the_name_of_a_class():
    with pytest.raises(InputError, match="class names a are there twice"):
        parse_classes(["a", "b"], ["a"])


@given(st.sets(st.integers(0, 60000), min_size=1, max_size=20))
def test_values_are_closed_up_in_their_order(values):
    label_of = classes_from_values(values).label_of_value
    assert [label_of[value] for value in sorted(values | {0})] == list(range(len(values | {0})))


@pytest.mark.parametrize(
    ("values", "kept"), [({"a": 1, "b": 2}, True), ({"a": 2, "b": 1}, False), ({"a": 1, "b": 3}, False)]
)
def test_values_are_kept_only_if_each_is_its_label(values, kept):
    assert Classes(values).keeps_values is kept
    assert not Classes(values, ("m",)).keeps_values


def test_an_ignore_value_in_a_gap_is_moved():
    assert Classes({"a": 1}, (), 2).keeps_values
    assert not Classes({"a": 1}, (), 255).keeps_values


@given(st.permutations(["necrosis", "edema", "enhancing"]))
def test_regions_written_one_over_the_other_give_the_classes_back(order):
    classes = Classes({name: value for value, name in enumerate(order, 1)})
    regions = {"whole": order, "core": ["necrosis", "enhancing"], "hot": ["enhancing"]}
    labels, written = region_labels(classes, regions)
    for label in range(4):
        predicted = 0
        for region, value in zip(regions, written, strict=True):
            parts = labels[region] if isinstance(labels[region], list) else [labels[region]]
            predicted = value if label in parts else predicted
        assert predicted == label


@pytest.mark.parametrize(
    ("regions", "text"),
    [
        (["all=a,b,c"], "found a, b, c"),
        (["one=a", "all=a,b", "c=c"], "found none"),
        (["x=a,b", "y=b"], "classes c are in no region"),
        (["x=a,d"], "no class d"),
        (["ignore=a", "x=b", "y=c"], "reserved"),
        (["x="], "expected NAME=CLASS"),
        (["x=a", "x=b"], "there twice"),
        (["x=a,a"], "each class once"),
    ],
)
def test_unusable_regions(regions, text):
    with pytest.raises(InputError, match=text):
        region_labels(parse_classes(["a", "b", "c"]), parse_regions(regions))


def test_ignore_stays_beside_regions():
    labels, _ = region_labels(parse_classes(["a", "b", "ignore"]), {"x": ["a", "b"], "y": ["b"]})
    assert labels == {"background": 0, "x": [1, 2], "y": 2, "ignore": 3}

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from nnunet_ext.files import sha256
from nnunet_ext.imageio import read_volume
from nnunet_ext.imageio.geometry import Geometry
from nnunet_ext.inference.case import CaseImage
from nnunet_ext.inference.merge_parts import holds_parts, merge_parts
from nnunet_ext.inference.parts import part_name, part_range, write_part
from nnunet_ext.inference.plane_store import PlaneStore

if TYPE_CHECKING:
    from pathlib import Path

RANGES = ((0, 4), (4, 4), (4, 9))
CROP = ((1, 7), (2, 11), (0, 5))
SHAPE = (8, 12, 5)
# The first axis of the network is y here.
TRANSPOSE = (1, 2, 0)
PLANES = np.random.default_rng(0).integers(0, 4, (9, 5, 6), dtype=np.uint8)
GEOMETRY = Geometry((1.5, 0.5, 2.0), (3.0, -4.0, 5.0))
IDENTITY = {"model": {"plans.json": "aa"}, "image": "bb", "step_size": 0.5}


def write(folder: Path, part: int, case: str = "c", *, overwrite: bool = False, **more: Any) -> Path:
    """Write a part of the same case, but for what is said to be different."""
    first, last = more.pop("planes_of_part", RANGES[part])
    identity = more.pop("identity", IDENTITY)
    state, heads = folder / "predict_state" / f"{case}{part}", len(more.get("background", ()))
    kept = PlaneStore(state, identity, first, last, (5, 6), np.dtype(np.uint8), heads)
    if not kept.is_complete:
        kept.append(PLANES[first:last])
    image = CaseImage(case, (), more.pop("shape", SHAPE), more.pop("geometry", GEOMETRY), (1.0, 1.0, 1.0))
    layout = {
        "part": part,
        "parts": 3,
        "planes": 9,
        "plane": (5, 6),
        "crop": CROP,
        "transpose": TRANSPOSE,
        "file_ending": ".nii.gz",
        "identity": identity,
        **more,
    }
    return write_part(folder, kept, image, layout, overwrite=overwrite)


def write_all(folder: Path, case: str = "c", **more: Any) -> list[Path]:
    return [write(folder, part, case, **more) for part in range(3)]


def problem_of(folder: Path) -> str:
    """Merge, which has to fail and to leave nothing behind; return the message."""
    output = folder / "merged"
    with pytest.raises(BadCasesError) as caught:
        merge_parts(folder, output)
    assert not output.exists()
    return str(caught.value)


def edit(record: Path, **more: Any) -> None:
    record.write_text(json.dumps({**json.loads(record.read_text()), **more}))


rows = st.lists(st.integers(1, 20), max_size=30).map(lambda steps: [0, *np.cumsum(steps).tolist()])


@given(parts=st.integers(1, 40), starts=rows, before=st.integers(0, 5), after=st.integers(1, 30))
def test_parts_make_up_all_planes_once_and_begin_where_rows_begin(parts, starts, before, after):
    shifted = [start - before for start in starts]
    planes = max(1, shifted[-1] + after)
    ranges = [part_range(part, parts, shifted, planes) for part in range(parts)]
    assert [first for first, _ in ranges] == [0, *(last for _, last in ranges[:-1])]
    assert ranges[-1][1] == planes
    assert all(first <= last for first, last in ranges)
    assert all(first in {0, planes, *shifted} for first, _ in ranges)


def test_rows_are_shared_out_evenly():
    assert [part_range(part, 3, (0, 5, 10, 15, 20, 25), 40) for part in range(3)] == [(0, 10), (10, 20), (20, 40)]


def test_of_more_parts_than_rows_some_are_empty():
    assert [part_range(part, 4, (0, 5), 12) for part in range(4)] == [(0, 0), (0, 5), (5, 5), (5, 12)]


def test_parts_become_the_label_map_of_the_whole_image(tmp_path):
    write_all(tmp_path)
    (path,) = merge_parts(tmp_path, tmp_path / "merged")
    found, geometry = read_volume(path)
    expected = np.zeros(SHAPE, np.uint8)
    # (y, x, z) to (z, y, x)
    expected[1:7, 2:11, 0:5] = PLANES.transpose(2, 0, 1)
    assert path.name == "c.nii.gz"
    np.testing.assert_array_equal(found, expected)
    assert geometry.spacing == pytest.approx(GEOMETRY.spacing)
    assert geometry.origin == pytest.approx(GEOMETRY.origin)


def test_dataset_and_plans_come_along(tmp_path):
    write_all(tmp_path)
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0}}')
    (tmp_path / "plans.json").write_text('{"plans_name": "p"}')
    merge_parts(tmp_path, tmp_path / "merged", file_ending=".mha")
    assert sorted(path.name for path in (tmp_path / "merged").iterdir()) == ["c.mha", "dataset.json", "plans.json"]
    assert json.loads((tmp_path / "merged" / "plans.json").read_text()) == {"plans_name": "p"}


def test_parts_may_be_merged_into_their_own_folder(tmp_path):
    write_all(tmp_path)
    (tmp_path / "dataset.json").write_text("{}")
    assert merge_parts(tmp_path, tmp_path) == [tmp_path / "c.nii.gz"]


def test_a_folder_says_whether_it_holds_parts(tmp_path):
    assert not holds_parts(tmp_path)
    write(tmp_path, 0)
    assert holds_parts(tmp_path)


def test_a_missing_part_is_named(tmp_path):
    write(tmp_path, 0)
    write(tmp_path, 1)
    assert "c.parts: part 2 of 3 (from 0) is missing" in problem_of(tmp_path)


def test_problems_of_all_cases_are_named_in_one_go(tmp_path):
    write(tmp_path, 0, "a")
    write_all(tmp_path, "b")
    (tmp_path / "c.parts").mkdir()
    message = problem_of(tmp_path)
    assert message.startswith("2 problems found")
    assert "a.parts: part 1, 2 of 3 (from 0) is missing" in message
    assert "c.parts: no part in it" in message


def test_a_part_that_is_there_twice_is_named(tmp_path):
    records = write_all(tmp_path)
    for record in (records[0], records[0].with_suffix(".labels")):
        (record.parent / record.name.replace("part000", "part00")).write_bytes(record.read_bytes())
    assert "part 0 is there more than once: part000of003.json, part00of003.json" in problem_of(tmp_path)


def test_a_part_under_the_name_of_another_is_named(tmp_path):
    records = write_all(tmp_path)
    records[2].write_bytes(records[0].read_bytes())
    assert f"{records[2]}: is part 0 of 3 by its content" in problem_of(tmp_path)


def test_truncated_labels_are_named(tmp_path):
    labels = write_all(tmp_path)[2].with_suffix(".labels")
    labels.write_bytes(labels.read_bytes()[:-1])
    assert f"{labels}: 149 bytes, expected 150" in problem_of(tmp_path)


def test_changed_labels_are_named(tmp_path):
    labels = write_all(tmp_path)[2].with_suffix(".labels")
    content = bytearray(labels.read_bytes())
    content[70] ^= 1
    labels.write_bytes(content)
    assert f"{labels}: not what part002of003.json says was written (SHA-256 differs)" in problem_of(tmp_path)


def test_missing_labels_are_named(tmp_path):
    labels = write_all(tmp_path)[0].with_suffix(".labels")
    labels.unlink()
    assert f"{labels}: no such file, expected planes 0 to 4 of case 'c'" in problem_of(tmp_path)


def write_with_probabilities(folder: Path) -> list[Path]:
    """Write parts with probabilities of two heads, which are those of random numbers."""
    stacks = np.random.default_rng(1).random((9, 2, 5, 6)).astype(np.float16)
    records = []
    for part, (first, last) in enumerate(RANGES):
        state = folder / "predict_state" / f"c{part}"
        store = PlaneStore(state, IDENTITY, first, last, (5, 6), np.dtype(np.uint8), heads=2)
        store.append(PLANES[first:last], np.moveaxis(stacks[first:last], 1, 0))
        records.append(write(folder, part, background=(0.75, 0.25)))
    np.save(folder / "expected.npy", stacks)
    return records


def test_probabilities_of_parts_become_one_array(tmp_path):
    import blosc2

    write_with_probabilities(tmp_path)
    merge_parts(tmp_path, tmp_path / "merged")
    found = blosc2.open(str(tmp_path / "merged" / "c.b2nd"))[:]
    expected = np.empty((2, *SHAPE), np.float16)
    expected[0], expected[1] = 0.75, 0.25
    # (y, head, x, z) to (head, z, y, x)
    expected[:, 1:7, 2:11, 0:5] = np.load(tmp_path / "expected.npy").transpose(1, 3, 0, 2)
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(OutputExistsError, match=r"c\.b2nd"):
        merge_parts(tmp_path, tmp_path / "merged", file_ending=".mha")


def test_probabilities_that_are_not_there_or_changed_are_named(tmp_path):
    records = write_with_probabilities(tmp_path)
    stored = records[2].with_suffix(".probabilities")
    content = bytearray(stored.read_bytes())
    content[70] ^= 1
    stored.write_bytes(content)
    assert f"{stored}: not what part002of003.json says was written (SHA-256 differs)" in problem_of(tmp_path)
    stored.write_bytes(content[:-2])
    assert f"{stored}: 598 bytes, expected 600" in problem_of(tmp_path)
    stored.unlink()
    assert f"{stored}: no such file" in problem_of(tmp_path)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"identity": {**IDENTITY, "model": {"plans.json": "zz"}}}, "identity"),
        ({"identity": {**IDENTITY, "image": "zz"}}, "identity"),
        ({"identity": {**IDENTITY, "step_size": 0.25}}, "identity"),
        ({"shape": (9, 12, 5)}, "shape"),
        ({"geometry": Geometry((1.5, 0.5, 2.1))}, "geometry"),
        ({"crop": ((2, 8), (2, 11), (0, 5))}, "crop"),
        ({"transpose": (1, 0, 2)}, "transpose"),
        ({"file_ending": ".mha"}, "file_ending"),
    ],
)
def test_a_part_of_something_else_is_named_with_what_differs(tmp_path, more, named):
    write(tmp_path, 0)
    write(tmp_path, 1)
    record = write(tmp_path, 2, **more)
    assert f"{record}: does not belong with part000of003.json, they differ in {named};" in problem_of(tmp_path)


def test_a_part_of_another_case_is_named(tmp_path):
    write_all(tmp_path)
    record = write(tmp_path, 2, "other")
    for path in (record, record.with_suffix(".labels")):
        path.rename(tmp_path / "c.parts" / path.name)
    record.parent.rmdir()
    assert "part002of003.json: belongs to case 'other', expected 'c'" in problem_of(tmp_path)


def test_parts_of_different_numbers_do_not_go_together(tmp_path):
    write_all(tmp_path)
    record = write(tmp_path, 0, parts=1, overwrite=True)
    assert record.name == "part000of001.json"
    assert "they differ in parts;" in problem_of(tmp_path)


@pytest.mark.parametrize(
    ("planes", "named"), [((5, 9), "begins at plane 5, expected 4"), ((4, 8), "the parts end at plane 8, expected 9")]
)
def test_planes_that_no_part_has_are_named(tmp_path, planes, named):
    write(tmp_path, 0)
    write(tmp_path, 1)
    write(tmp_path, 2, planes_of_part=planes)
    assert named in problem_of(tmp_path)


def test_planes_that_two_parts_have_are_named(tmp_path):
    write(tmp_path, 0)
    write(tmp_path, 1)
    write(tmp_path, 2, planes_of_part=(3, 9))
    assert "part002of003.json: begins at plane 3, expected 4" in problem_of(tmp_path)


@pytest.mark.parametrize("name", ["notes.txt", "part7.labels", "part000of003.labels.bak"])
def test_a_stray_file_is_named(tmp_path, name):
    stray = write_all(tmp_path)[0].parent / name
    stray.write_text("?")
    assert f"{stray}: no part of a prediction" in problem_of(tmp_path)


def test_what_a_killed_job_left_half_written_does_not_matter(tmp_path):
    folder = write_all(tmp_path)[0].parent
    (folder / ".partial-0123abcd-part000of003.labels").write_text("?")
    assert len(merge_parts(tmp_path, tmp_path / "merged")) == 1


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"kind": "split"}, "not written by 'nnunet_ext predict --part'"),
        ({"surplus": 1}, "not the record of a part"),
        ({"dtype": "uint9"}, "not the record of a part"),
        ({"first": "0"}, "not the record of a part"),
        ({"plane": []}, "not the record of a part"),
    ],
)
def test_a_record_with_other_content_is_named(tmp_path, more, named):
    record = write_all(tmp_path)[0]
    edit(record, **more)
    message = problem_of(tmp_path)
    assert f"{record}: " in message
    assert named in message


def test_a_record_that_is_no_json_is_named(tmp_path):
    record = write_all(tmp_path)[0]
    record.write_text("{")
    assert f"{record}: not a JSON file" in problem_of(tmp_path)


def test_a_folder_without_parts_is_refused(tmp_path):
    with pytest.raises(MissingInputError, match=r"no folder <case>\.parts in it"):
        merge_parts(tmp_path, tmp_path / "merged")


def test_an_unknown_format_is_refused(tmp_path):
    write_all(tmp_path)
    with pytest.raises(InputError, match=r"--format \.xyz: expected one of \.nii\.gz"):
        merge_parts(tmp_path, tmp_path / "merged", file_ending=".xyz")


def test_an_output_that_is_no_folder_is_refused(tmp_path):
    write_all(tmp_path)
    (tmp_path / "merged").write_text("?")
    with pytest.raises(InputError, match="is no folder"):
        merge_parts(tmp_path, tmp_path / "merged")


def test_label_maps_are_not_replaced_unless_asked_for(tmp_path):
    write_all(tmp_path, "a")
    write_all(tmp_path, "b")
    target = tmp_path / "merged" / "b.nii.gz"
    target.parent.mkdir()
    target.write_text("mine")
    with pytest.raises(OutputExistsError, match=r"b\.nii\.gz"):
        merge_parts(tmp_path, tmp_path / "merged")
    assert [path.name for path in target.parent.iterdir()] == ["b.nii.gz"]
    merge_parts(tmp_path, tmp_path / "merged", overwrite=True)
    assert target.read_bytes() == (target.parent / "a.nii.gz").read_bytes()


def test_a_part_is_not_replaced_unless_asked_for(tmp_path):
    record = write(tmp_path, 0)
    with pytest.raises(OutputExistsError, match=part_name(0, 3)):
        write(tmp_path, 0)
    labels = record.with_suffix(".labels")
    before = sha256(labels)
    labels.write_text("?")
    write(tmp_path, 0, overwrite=True)
    assert sha256(labels) == before

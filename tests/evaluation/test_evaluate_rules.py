"""``evaluate --rules`` scores what ``postprocess`` would write."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from dataset_conversion.postprocess import postprocess
from evaluation.evaluate import evaluate, main
from evaluation.labels import read_declaration
from evaluation.report.worst_cases import draw_worst_cases, worst_cases
from nnunet_ext.class_rules.rules import read_rules
from nnunet_ext.errors import BadCasesError
from tests.evaluation.label_folders import random_labels, read_table, write_dataset_json, write_folder

if TYPE_CHECKING:
    from pathlib import Path

LABELS = {"background": 0, "necrosis": 1, "oedema": 2, "enhancing": 3}
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [1, 3], "enhancing": 3}
METRICS = ["Dice", "ASSD", "component_F1"]
RULES = [
    {"from": "enhancing", "to": "core", "below_voxels": 25},
    {"from": 2, "to": "background", "below_mm3": 20, "per_component": True},
]


def folders(folder: Path, labels: object = REGIONS, **more: object) -> tuple[Path, Path]:
    references = {f"case{seed}": random_labels(seed, [0, 0, 1, 2, 3]) for seed in range(4)}
    predicted = {f"case{seed}": random_labels(seed + 10, [0, 0, 0, 1, 2, 3]) for seed in range(4)}
    write_folder(folder / "p", predicted)
    write_dataset_json(folder / "p", labels, **more)
    return folder / "p", write_folder(folder / "g", references)


def rule_file(folder: Path, *rules: object) -> Path:
    path = folder / "rules.json"
    path.write_text(json.dumps({"rules": list(rules)}))
    return path


def test_the_scores_are_those_of_the_files_that_postprocess_writes(tmp_path):
    predicted, references = folders(tmp_path, regions_class_order=[2, 1, 3])
    rules = rule_file(tmp_path, *RULES)
    done = postprocess(predicted, tmp_path / "after", rules=rules, processes=1)
    changed = np.array(list(done.changed.values()))
    assert (changed > 0).any(axis=0).all(), "each rule is to change something"
    assert (changed == 0).any(), "but not in every case"
    before, now, files = (
        evaluate({"m": where}, references, tmp_path / name, rules=given, metrics=METRICS, worst=0)
        for name, where, given in (
            ("before", predicted, None),
            ("now", predicted, rules),
            ("files", tmp_path / "after", None),
        )
    )
    assert now.summary == files.summary != before.summary
    np.testing.assert_array_equal(now.confusions["m"][0].counts, files.confusions["m"][0].counts)
    for name in ("cases.csv", "summary.csv"):
        assert (tmp_path / "now" / name).read_text() == (tmp_path / "files" / name).read_text()


def test_one_false_voxel_by_hand(tmp_path):
    reference = np.zeros((1, 4, 4), np.uint8)
    reference[0, 0] = 1
    predicted = reference.copy()
    predicted[0, 0, 3] = predicted[0, 3, 3] = 3
    write_folder(tmp_path / "p", {"a": predicted})
    write_dataset_json(tmp_path / "p", LABELS)
    write_folder(tmp_path / "g", {"a": reference})
    words = ["-p", str(tmp_path / "p"), "-g", str(tmp_path / "g"), "--metrics", "Dice", "-np", "1"]
    dice = []
    for number, below in enumerate((2, 3)):
        rules = rule_file(tmp_path, {"from": "enhancing", "to": "necrosis", "below_voxels": below})
        out = tmp_path / str(number)
        assert main([*words, "-o", str(out), "--rules", str(rules)]) == 0
        rows = {row["class"]: row for row in read_table(out / "cases.csv")}
        dice.append((float(rows["necrosis"]["value"]), rows["enhancing"]["empty"]))
    # Two voxels are not fewer than 2. Fewer than 3, they become necrosis: 4 voxels are right, one is too many.
    assert dice == [(pytest.approx(2 * 3 / 7), "ref"), (pytest.approx(2 * 4 / 9), "both")]


def test_the_manifest_has_the_rules_and_their_file(tmp_path):
    predicted, references = folders(tmp_path, regions_class_order=[2, 1, 3])
    rules = rule_file(tmp_path, *RULES)
    evaluate({"m": predicted}, references, tmp_path / "out", rules=rules, metrics=["Dice"], worst=0)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["arguments"]["rules"] == {"file": str(rules), "rules": RULES}
    assert str(rules) in {record["path"] for record in manifest["inputs"]}
    assert "below_mm3" in (tmp_path / "out" / "report.html").read_text()


def test_the_worst_cases_are_drawn_after_the_rules(tmp_path):
    predicted, references = folders(tmp_path, LABELS)
    rules = rule_file(tmp_path, {"from": "enhancing", "to": "necrosis", "below_voxels": 999})
    postprocess(predicted, tmp_path / "after", rules=rules, processes=1)
    label_set = read_declaration(predicted / "dataset.json")
    pictures = []
    for where, given in ((predicted, None), (predicted, rules), (tmp_path / "after", None)):
        found = evaluate(
            {"m": where}, references, tmp_path / "out", rules=given, metrics=["Dice"], worst=0, overwrite=True
        )
        changes = () if given is None else read_rules(given, predicted / "dataset.json")
        (drawn,) = draw_worst_cases(worst_cases(found.cases, 1), label_set, {}, rules=changes)
        pictures.append(drawn)
    before, now, files = (np.asarray(drawn.picture) for drawn in pictures)
    np.testing.assert_array_equal(now, files)
    assert before.shape != now.shape or (before != now).any()
    assert pictures[1].caption == pictures[2].caption


def test_rules_that_cannot_be_used_are_named_before_anything_is_written(tmp_path, capsys):
    predicted, references = folders(tmp_path, LABELS)
    rules = rule_file(tmp_path, {"from": "bone", "to": "necrosis", "below_voxels": -2})
    words = ["-p", str(predicted), "-g", str(references), "-o", str(tmp_path / "out"), "--rules", str(rules)]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "'from' is 'bone', expected one of background (0), necrosis (1), oedema (2), enhancing (3)" in said
    assert "'below_voxels' is -2, expected a whole number from 0" in said
    assert not (tmp_path / "out").exists()


def test_a_case_that_cannot_take_the_rule_is_named(tmp_path):
    predicted, references = folders(tmp_path, {**LABELS, "far": 300})
    rules = rule_file(tmp_path, {"from": "enhancing", "to": "far", "below_voxels": 999})
    with pytest.raises(BadCasesError, match=r"case 'case0': .*voxels of uint8 cannot be 300"):
        evaluate({"m": predicted}, references, tmp_path / "out", rules=rules)

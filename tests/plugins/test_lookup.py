"""nnU-Net's look-up by name, extended by entry points."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
import types
from importlib.metadata import entry_points
from pathlib import Path

import nnunetv2
import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities import find_class_by_name
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find_trainer
from nnunetv2.utilities.label_handling.label_handling import get_labelmanager_class_from_plans

from nnunet_ext.errors import AmbiguousPluginError, PluginImportError, PluginNotFoundError
from nnunet_ext.plugins import startup
from nnunet_ext.plugins.lookup import GROUP_OF_FOLDER, defined_names, is_wrapped
from nnunet_ext.plugins.registry import TRAINERS, registrations
from nnunet_ext.trainers import MODULE_OF_TRAINER
from tests.builders import fake_package

NNUNET = Path(nnunetv2.__path__[0])


def run_python(code: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, timeout=300)


def test_the_seam_is_active_in_this_environment():
    assert is_wrapped(find_class_by_name.recursive_find_python_class)


@pytest.mark.parametrize("name", sorted(MODULE_OF_TRAINER))
def test_every_own_trainer_is_found_by_name(name):
    trainer = find_trainer(name)
    assert trainer.__name__ == name
    assert trainer.__module__ == MODULE_OF_TRAINER[name]
    assert issubclass(trainer, nnUNetTrainer)


def test_entry_points_and_the_list_for_installs_without_them_agree():
    own = {
        point.name: point.value.split(":")[0]
        for point in entry_points(group=TRAINERS)
        if point.dist.name == "nnunet_ext"
    }
    assert own == MODULE_OF_TRAINER


def test_the_folders_that_nnunet_searches_are_those_with_a_group():
    """Pins an internal: which folders nnU-Net hands to its look-up function."""
    calls = re.compile(r"recursive_find_python_class\(\s*(?:os\.path\.)?join\(nnunetv2\.__path__\[0\],\s*([^)]*)\)")
    searched = set()
    for file in NNUNET.rglob("*.py"):
        if "tests" not in file.parts:
            for parts in calls.findall(file.read_text()):
                searched.add("/".join(re.findall(r'"([^"]+)"', parts)))
    assert searched == set(GROUP_OF_FOLDER)
    assert all((NNUNET / folder).is_dir() for folder in GROUP_OF_FOLDER)


def test_a_name_of_nnunet_is_never_shadowed(tmp_path, monkeypatch):
    fake_package(tmp_path, "shadower", TRAINERS, {"nnUNetTrainer": "collections:OrderedDict"})
    monkeypatch.syspath_prepend(tmp_path)
    assert find_trainer("nnUNetTrainer") is nnUNetTrainer


def test_a_registered_name_of_any_group_is_found(tmp_path, monkeypatch):
    fake_package(tmp_path, "managers", "nnunetv2.label_managers", {"MyManager": "collections:OrderedDict"})
    monkeypatch.syspath_prepend(tmp_path)
    found = get_labelmanager_class_from_plans({"label_manager": "MyManager"})
    assert found.__name__ == "OrderedDict"


def test_two_packages_with_one_name_are_an_error_that_names_both(tmp_path, monkeypatch):
    fake_package(tmp_path / "a", "lab_one", TRAINERS, {"nnUNetTrainerTwin": "collections:OrderedDict"})
    fake_package(tmp_path / "b", "lab_two", TRAINERS, {"nnUNetTrainerTwin": "collections:Counter"})
    monkeypatch.syspath_prepend(tmp_path / "a")
    monkeypatch.syspath_prepend(tmp_path / "b")
    with pytest.raises(AmbiguousPluginError, match=r"lab_one.*lab_two"):
        find_trainer("nnUNetTrainerTwin")


def test_a_plugin_that_fails_to_import_is_named_with_its_own_error(tmp_path, monkeypatch):
    fake_package(tmp_path, "lab", TRAINERS, {"nnUNetTrainerBroken": "no_such_module_at_all:nnUNetTrainerBroken"})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginImportError, match=r"nnUNetTrainerBroken = no_such_module_at_all") as caught:
        find_trainer("nnUNetTrainerBroken")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


def test_an_unknown_name_is_answered_with_the_closest_ones():
    with pytest.raises(PluginNotFoundError, match=r"Closest names: nnUNetTrainer_betterIgnoreSampling,"):
        find_trainer("nnUNetTrainer_betterIgnorSampling")


def test_a_misspelt_trainer_with_a_length_is_answered_with_that_length():
    with pytest.raises(PluginNotFoundError, match=r"Closest names: nnUNetTrainer_betterIgnoreSampling_5epochs,"):
        find_trainer("nnUNetTrainer_betterIgnorSampling_5epochs")


def test_an_unknown_name_is_still_a_runtime_error_as_in_nnunet():
    with pytest.raises(RuntimeError, match="nothingLikeIt"):
        find_trainer("nothingLikeIt")


@pytest.mark.parametrize(
    ("name", "base", "epochs"),
    [
        ("nnUNetTrainer_betterIgnoreSampling_3epochs", "nnUNetTrainer_betterIgnoreSampling", 3),
        ("nnUNetTrainer_betterIgnoreSampling_1epoch", "nnUNetTrainer_betterIgnoreSampling", 1),
        ("nnUNetTrainerDA5_17epochs", "nnUNetTrainerDA5", 17),
    ],
)
def test_a_length_suffix_gives_the_trainer_that_length(name, base, epochs):
    trainer = find_trainer(name)
    assert (trainer.__name__, trainer.__base__.__name__, trainer.num_epochs) == (name, base, epochs)
    assert find_trainer(name) is trainer
    assert pickle.loads(pickle.dumps(trainer)) is trainer


def test_a_length_that_nnunet_defines_itself_is_nnunets():
    assert find_trainer("nnUNetTrainer_5epochs").__module__.startswith("nnunetv2.")


@pytest.mark.parametrize("name", ["nnUNetTrainer_betterIgnoreSampling_0epochs", "noSuchTrainer_3epochs"])
def test_a_length_needs_a_trainer_and_at_least_one_epoch(name):
    with pytest.raises(PluginNotFoundError, match=name):
        find_trainer(name)


def test_a_length_class_unpickles_in_a_fresh_process():
    trainer = find_trainer("nnUNetTrainer_noSmooth_7epochs")
    code = f"import pickle; print(pickle.loads({pickle.dumps(trainer)!r}).num_epochs)"
    assert run_python(code).stdout.strip().endswith("7")


def test_spawned_workers_have_the_seam():
    code = (
        "from multiprocessing import get_context\n"
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"
        "if __name__ == '__main__':\n"
        "    with get_context('spawn').Pool(1) as pool:\n"
        "        print(pool.apply(find, ('nnUNetTrainer_noSmooth_4epochs',)).__name__)\n"
    )
    assert run_python(code).stdout.strip().endswith("nnUNetTrainer_noSmooth_4epochs")


def test_start_up_loads_nothing_but_the_hook():
    code = (
        "import sys; print(sorted(m for m in sys.modules if m.startswith(('nnunet', 'importlib.metadata', 'torch'))))"
    )
    assert eval(run_python(code).stdout) == ["nnunet_ext", "nnunet_ext.plugins", "nnunet_ext.plugins.startup"]


def test_a_look_up_module_without_the_function_warns_and_does_not_raise():
    with pytest.warns(UserWarning, match="nnunet_ext could not hook into"):
        startup._wrap(types.ModuleType("a_new_nnunet"))


def test_activate_twice_is_once():
    code = (
        "import sys\nfrom nnunet_ext.plugins.startup import LookupFinder, activate\nactivate()\nactivate()\n"
        "print(sum(isinstance(f, LookupFinder) for f in sys.meta_path))"
    )
    assert run_python(code).stdout.strip() == "1"


def test_external_trainers_of_nnunet_still_work(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n"
        "class nnUNetTrainerOutside(nnUNetTrainer):\n    pass\n"
        "class nnUNetTrainer_6epochs(nnUNetTrainer):\n    pass\n"
    )
    monkeypatch.setenv("nnUNet_extTrainer", str(tmp_path))
    assert find_trainer("nnUNetTrainerOutside").__module__ == "mine"
    assert find_trainer("nnUNetTrainer_6epochs").__module__ == "mine"
    with pytest.raises(PluginNotFoundError, match="Closest names: nnUNetTrainerOutside"):
        find_trainer("nnUNetTrainerOutsider")


@pytest.mark.parametrize("name", ["nnUNetTrainer_noSmooth", "nnUNetTrainer_betterIgnoreSampling_9epochs"])
def test_trainer_path_serves_where_the_seam_is_not_active(name):
    code = (
        "import os\nfrom nnunet_ext.plugins.startup import deactivate\ndeactivate()\n"
        "from nnunet_ext.cli.trainer_path import trainer_path\n"
        "os.environ['nnUNet_extTrainer'] = str(trainer_path())\n"
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"
        f"print(find({name!r}).__name__)"
    )
    done = run_python(code)
    assert done.stdout.strip().splitlines()[-1] == name, done.stderr


@pytest.mark.parametrize(
    "name", ["nnUNetTrainer_betterIgnoreSampling_2epochs", "nnUNetTrainerDA5_betterIgnoreSampling"]
)
def test_registered_trainers_do_not_depend_on_the_walk_through_nnunets_own(name):
    """nnU-Net's walk fails where torchvision does not import, as beside a CPU build of torch."""
    code = (
        "import sys\nsys.modules['torchvision'] = None\n"
        "from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find\n"
        f"print(find({name!r}).__name__)\n"
        "from nnunet_ext.plugins.health import torchvision_problem\nprint(torchvision_problem())"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    found, problem = done.stdout.strip().splitlines()[-2:]
    assert found == name
    assert "same index" in problem


def test_defined_names_reads_classes_functions_values_and_imports(tmp_path):
    (tmp_path / "a.py").write_text(
        "from b import (C,\n  D)\nclass E(C):\n  inner = 1\ndef f(): pass\nG: int = 1\nH = 2\nx == 3\n"
    )
    assert {"C", "D", "E", "f", "G", "H"} <= defined_names(tmp_path)
    assert not {"inner", "x"} & defined_names(tmp_path)


def test_registrations_name_their_package():
    assert {r.package for r in registrations(TRAINERS) if r.name in MODULE_OF_TRAINER} == {"nnunet_ext"}

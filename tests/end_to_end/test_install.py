"""Every way to install the package, each in an environment of its own, and whether nnU-Net then finds its classes.

The environments are made without the network: the dependencies are those of the environment that runs the tests, less
the packages under test. Only an editable nnU-Net needs its sources from the package index.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest

from nnunet_ext import __version__
from tests.builders import ROOT

pytestmark = pytest.mark.end_to_end

PACKAGES = {"nnunet_ext", "dataset_conversion", "evaluation"}
PTH_FILE = "hatch_autorun_nnunet_ext.pth"
OWN_TRAINERS = ["nnUNetTrainer_betterIgnoreSampling", "nnUNetTrainer_noSmooth_3epochs"]
FIND_TRAINERS = f"""
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find
names = [find(name).__name__ for name in {OWN_TRAINERS}]
epochs = find("nnUNetTrainer_noSmooth_3epochs").num_epochs
"""
LOOK_AROUND = f"""
import json, os
from importlib.metadata import entry_points
import dataset_conversion, evaluation, nnunet_ext, nnunetv2
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
{FIND_TRAINERS}
folder = os.path.join(nnunetv2.__path__[0], "experiment_planning")
planner = recursive_find_python_class(folder, "ExperimentPlannerCPU", "nnunetv2.experiment_planning")
[point] = entry_points(group="nnunetv2.planners", name="ExperimentPlannerCPU")
print(json.dumps({{
    "files": [module.__file__ for module in (dataset_conversion, evaluation, nnunet_ext)],
    "metadata": str(point.dist.locate_file("")),
    "nnunetv2": nnunetv2.__file__,
    "names": names,
    "epochs": epochs,
    "planner": planner.__module__,
}}))
"""


class Environment:
    """A fresh virtual environment that has this environment's packages, less those under test."""

    def __init__(self, folder: Path, without: tuple[str, ...] = ("nnunet_ext",)) -> None:
        self.home = folder
        venv.create(folder / "venv", with_pip=True, symlinks=os.name != "nt")
        self.commands = folder / "venv" / Path(sys.executable).parent.name
        done = self.run("python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
        self.site_packages = Path(done.stdout.strip())
        link_dependencies(folder / "dependencies", without)
        # Python reads this line, but no .pth file in that folder: nothing starts there by itself.
        (self.site_packages / "dependencies.pth").write_text(f"{folder / 'dependencies'}\n")

    def run(self, command: str | Path, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command of this environment, whatever its exit status."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("nnUNet", "PYTHON"))}
        kept |= {"PIP_NO_CACHE_DIR": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", **variables}
        line = [str(self.commands / command), *map(str, words)]
        return subprocess.run(line, env=kept, cwd=self.home, capture_output=True, text=True, timeout=300)

    def pip(self, *words: str | Path) -> None:
        succeeded(self.run("python", "-m", "pip", *words))


def succeeded(done: subprocess.CompletedProcess[str]) -> str:
    """Return the output of a command that has to succeed."""
    assert done.returncode == 0, f"{done.args} exits with {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def link_dependencies(folder: Path, without: tuple[str, ...]) -> None:
    """Fill ``folder`` with links to all of this environment's site-packages, less what ``without`` installed."""
    folder.mkdir()
    own = {path.parts[0] for name in without for path in distribution(name).files or []}
    for site_packages in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(site_packages).iterdir():
            if entry.name not in own and entry.suffix != ".pth" and not (folder / entry.name).exists():
                (folder / entry.name).symlink_to(entry, target_is_directory=entry.is_dir())


def build(source: Path, output: Path, *flags: str) -> None:
    words = [sys.executable, "-m", "build", "--no-isolation", *flags, "-o", output, source]
    succeeded(subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=300))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the checkout as git would give it away, with what is not committed yet."""
    folder = tmp_path_factory.mktemp("source")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if listed.returncode:
        pytest.skip(f"{ROOT} is no git checkout: {listed.stderr}")
    for name in listed.stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel straight from the checkout."""
    output = tmp_path_factory.mktemp("wheel")
    build(source, output, "--wheel")
    [built] = output.iterdir()
    return built


def contents(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def look_around(environment: Environment) -> dict[str, object]:
    """Return what nnU-Net finds in the environment, and where everything lies."""
    return json.loads(succeeded(environment.run("python", "-c", LOOK_AROUND)).splitlines()[-1])


def assert_found_by_nnunet(environment: Environment, code: Path) -> dict[str, object]:
    """Check that nnU-Net finds the classes, that the code is that in ``code``, and that the command works."""
    found = look_around(environment)
    assert {Path(file).parents[1].resolve() for file in found["files"]} == {code.resolve()}
    assert Path(found["metadata"]).resolve() == environment.site_packages.resolve()
    assert found["names"] == OWN_TRAINERS
    assert found["epochs"] == 3
    assert found["planner"] == "nnunet_ext.planners.cpu"
    assert succeeded(environment.run("nnunet_ext", "--version")) == f"nnunet_ext {__version__}\n"
    assert "active  yes" in succeeded(environment.run("nnunet_ext", "doctor"))
    return found


def test_the_wheel_holds_the_packages_the_start_up_file_and_the_licence_alone(wheel):
    info = f"nnunet_ext-{__version__}.dist-info"
    assert {name.split("/")[0] for name in contents(wheel)} == {*PACKAGES, PTH_FILE, info}
    assert f"{info}/licenses/LICENSE" in contents(wheel)
    assert "nnunet_ext/plugins/trainer_folder/nnunet_ext_trainers.py" in contents(wheel)


def test_the_wheel_of_the_source_distribution_is_the_same(source, wheel, tmp_path):
    build(source, tmp_path)
    assert list(tmp_path.glob("nnunet_ext-*.tar.gz"))
    [through_sdist] = tmp_path.glob("*.whl")
    assert contents(through_sdist) == contents(wheel)


def test_an_installed_wheel_is_found_by_nnunet_and_leaves_without_a_trace(wheel, tmp_path):
    environment = Environment(tmp_path)
    environment.pip("install", "--no-deps", "--no-index", wheel)
    assert_found_by_nnunet(environment, environment.site_packages)

    environment.pip("uninstall", "--yes", "nnunet_ext")
    assert not list(environment.site_packages.glob("*nnunet_ext*"))
    done = environment.run("python", "-c", "import sys; print([name for name in sys.modules if 'nnunet' in name])")
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_an_editable_install_is_found_by_nnunet(source, tmp_path):
    shutil.copytree(source, tmp_path / "checkout")
    environment = Environment(tmp_path)
    environment.pip("install", "--no-deps", "--no-index", "--no-build-isolation", "-e", tmp_path / "checkout")
    assert_found_by_nnunet(environment, tmp_path / "checkout")


def test_an_install_with_target_finds_trainers_by_their_folder(wheel, tmp_path):
    environment, target = Environment(tmp_path), tmp_path / "target"
    environment.pip("install", "--no-deps", "--no-index", "--target", target, wheel)
    on_path = {"PYTHONPATH": str(target)}

    done = environment.run(target / "bin" / "nnunet_ext", "doctor", **on_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"active  no: no {PTH_FILE} in " in done.stdout
    assert f"nnunet_ext runs from {target}" in done.stdout
    assert "export nnUNet_extTrainer=$(nnunet_ext trainer_path)" in done.stdout

    folder = succeeded(environment.run(target / "bin" / "nnunet_ext", "trainer_path", **on_path)).strip()
    code = f"{FIND_TRAINERS}\nprint(names, epochs)"
    found = succeeded(environment.run("python", "-c", code, nnUNet_extTrainer=folder, **on_path))
    assert found.splitlines()[-1] == f"{OWN_TRAINERS} 3"


def test_beside_an_editable_nnunet_classes_are_found_by_its_commands(source, wheel, tmp_path):
    environment = Environment(tmp_path, without=("nnunet_ext", "nnunetv2"))
    wanted = f"nnunetv2=={distribution('nnunetv2').version}"
    download = ["download", "--retries", "1", "--timeout", "30", "--no-deps", "--no-binary", ":all:", "-d", tmp_path]
    done = environment.run("python", "-m", "pip", *download, wanted)
    if done.returncode:
        pytest.skip(f"the sources of {wanted} cannot be downloaded: {done.stderr[-500:]}")
    [archive] = tmp_path.glob("nnunetv2-*.tar.gz")
    shutil.unpack_archive(archive, tmp_path / "unpacked", filter="data")
    [checkout] = (tmp_path / "unpacked").iterdir()
    environment.pip("install", "--no-deps", "-e", checkout)

    environment.pip("install", "--no-deps", "--no-index", wheel)
    found = assert_found_by_nnunet(environment, environment.site_packages)
    assert Path(found["nnunetv2"]).resolve().is_relative_to(checkout.resolve())
    misspelt = ["-tr", "nnUNetTrainer_betterIgnoreSamplin", "-device", "cpu"]
    done = environment.run("nnUNetv2_train", "1", "2d", "0", *misspelt)
    assert "Closest names: nnUNetTrainer_betterIgnoreSampling," in done.stderr

    shutil.copytree(source, tmp_path / "own_checkout")
    environment.pip("install", "--no-deps", "--no-build-isolation", "-e", tmp_path / "own_checkout")
    found = assert_found_by_nnunet(environment, tmp_path / "own_checkout")
    assert Path(found["nnunetv2"]).resolve().is_relative_to(checkout.resolve())

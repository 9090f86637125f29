"""Pages of the reference that are made from the code when the site is built: commands, classes, modules."""

from __future__ import annotations

import argparse
import ast
import re
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("nnunet_ext", "dataset_conversion", "evaluation")
COMMANDS, CLASSES = "reference/commands.md", "reference/classes.md"
ENTRY_GROUPS = {
    "nnunetv2.trainers": ("Trainers", "after `-tr`"),
    "nnunetv2.planners": ("Planners", "after `-pl`"),
    "nnunetv2.preprocessors": ("Preprocessors", "`preprocessor_name` in the plans"),
    "nnunetv2.label_managers": ("Label managers", "`label_manager` in the plans"),
    "nnunetv2.readers": ("Readers", "`image_reader_writer` in the plans"),
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Append the pages to the section "Reference"."""
    reference = next(entry["Reference"] for entry in config.nav if "Reference" in entry)
    python = [{name: _page_of(name)} for name in packages()]
    reference += [{"Commands": COMMANDS}, {"Trainers, planners, variables": CLASSES}, {"In Python": python}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    return files


def pages() -> dict[str, str]:
    """Return all generated pages as ``{path: text}``."""
    return {
        COMMANDS: commands_page(),
        CLASSES: classes_page(),
        **{_page_of(name): package_page(name) for name in packages()},
    }


# --- commands ---------------------------------------------------------------------------------------------------------


def commands_page() -> str:
    """Return the page of all commands: a table of contents, then usage and flags of each."""
    from nnunet_ext.cli import SECTIONS, VERBS
    from nnunet_ext.cli.completion import command_parser

    parsers = dict(_leaves(command_parser()))
    placed = {name for names in SECTIONS.values() for name in names}
    sections = {**SECTIONS, "More": tuple(name for name in VERBS if name not in placed)}
    contents, chapters = [], []
    for title, names in sections.items():
        words = [line for name in names for line in parsers if line.split()[0] == name]
        if words:
            contents.append(f"| **{title}** | |")
            contents += [f"| [`nnunet_ext {line}`](#{_anchor(line)}) | {parsers[line].description} |" for line in words]
            chapters.append(f"## {title}")
            chapters += [_command_text(line, parsers[line]) for line in words]
    intro = (
        "# Commands\n\nMade from the commands themselves: the same as `nnunet_ext COMMAND --help`. Exit status: 0 "
        "done, 1 refused or failed, 2 wrong usage. Bold flags are required. Everything that writes refuses to replace "
        "what is there unless `--overwrite` is given.\n\nThe shell completes commands, flags, choices and files after "
        "`source <(nnunet_ext completion bash)`, best in `~/.bashrc`; for zsh and fish see "
        "[completion](#completion)."
    )
    return "\n\n".join([intro, "\n".join(["| command | |", "|---|---|", *contents]), *chapters]) + "\n"


def _leaves(
    parser: argparse.ArgumentParser, words: str = "", summary: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield the words and the parser of every command that has flags, or no sub-commands."""
    subs = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    parser.description = parser.description or summary
    if words and (not subs or _flags(parser)):
        yield words, parser
    for action in subs:
        summaries = {choice.dest: choice.help or "" for choice in action._choices_actions}
        for name, child in action.choices.items():
            yield from _leaves(child, f"{words} {name}".strip(), summaries.get(name, ""))


def _flags(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Return the flags and arguments of a command, without its help and its sub-commands."""
    left_out = (argparse._HelpAction, argparse._SubParsersAction)
    return [action for action in parser._actions if not isinstance(action, left_out)]


def _command_text(words: str, parser: argparse.ArgumentParser) -> str:
    """Return the text about one command."""
    rows = [_flag_row(action, parser) for action in _flags(parser)]
    heading = f"### nnunet_ext {words} {{ #{_anchor(words)} }}\n\n{parser.description}"
    if not rows:
        return f"{heading} It has no flags."
    return "\n".join([f"{heading}\n", "| flag | value | |", "|---|---|---|", *rows])


def _flag_row(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """Return the table row about one flag or argument."""
    names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar or action.dest}`"
    required = action.required or not action.option_strings
    return f"| {f'**{names}**' if required else names} | {_value_of(action)} | {_help_of(action, parser)} |"


def _value_of(action: argparse.Action) -> str:
    """Return what a flag takes."""
    if action.nargs == 0:
        return ""
    if action.choices is not None:
        words = " ".join(f"`{choice}`" for choice in action.choices)
    else:
        metavar = action.metavar or (action.dest.upper() if action.option_strings else "")
        words = " ".join(f"`{word}`" for word in ((metavar,) if isinstance(metavar, str) else metavar) if word)
    return f"{words} …" if action.nargs in ("+", "*") else words


def _help_of(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """Return the help of a flag, with its default, as Markdown."""
    # The number of processors is this machine's, not the reader's.
    if action.dest == "processes":
        return _escape(action.help or "") + " (default: up to 4)"
    formatter = argparse.HelpFormatter(parser.prog)
    text = formatter._expand_help(action) if action.help else ""
    telling = action.default not in (None, False, "", argparse.SUPPRESS, [], ()) and "default" not in text
    return _escape(f"{text} (default: {_shown(action.default)})" if telling else text)


def _shown(default: Any) -> str:
    return " ".join(map(str, default)) if isinstance(default, (list, tuple)) else str(default)


def _escape(text: str) -> str:
    """Keep Markdown and tables from seeing signs of their own in plain text."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _anchor(words: str) -> str:
    """Return the anchor of a command."""
    return words.replace(" ", "-")


# --- classes ----------------------------------------------------------------------------------------------------------


def classes_page() -> str:
    """Return the page of the classes that nnU-Net finds by name, and of the variables they read."""
    lines = [
        "# Trainers, planners, variables\n",
        "Classes that nnU-Net's commands find by name once this package is installed.",
    ]
    for group, (title, where) in ENTRY_GROUPS.items():
        lines += [f"\n## {title}\n", f"| name, {where} | |", "|---|---|"]
        for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
            if entry.module.startswith("nnunet_ext."):
                text = _first_paragraph(_docstring(entry.module, entry.attr))
                lines.append(f"| [`{entry.name}`][{entry.module}.{entry.attr}] | {_in_table(text)} |")
    lines += [
        "\n`<any of these trainers, or of nnU-Net's>_<N>epochs` trains for N epochs.",
        "\n## Environment variables\n",
        "nnU-Net's commands pass no options to a trainer, so these read the environment when a training starts.\n",
        "| variable | default | |",
        "|---|---|---|",
        *(
            f"| `{name}` | {default} | {_in_table(text)} ([`{owner}`][{path}]) |"
            for name, default, text, owner, path in _variables()
        ),
        "\nnnU-Net's own: `nnUNet_raw`, `nnUNet_preprocessed`, `nnUNet_results` (folders), `nnUNet_compile` (`f` "
        "switches `torch.compile` off), `nnUNet_n_proc_DA` (processes that augment; 0 for none, but planning needs 1 "
        "or more), "
        "`nnUNet_def_n_proc` (default of `-np` and its like), `nnUNet_extTrainer` (see "
        "[Without .pth files](../developers.md#without-pth-files)).",
    ]
    return "\n".join(lines) + "\n"


def _variables() -> Iterator[tuple[str, str, str, str, str]]:
    """Yield name, default, explanation, class and path of the variables that docstrings of trainers explain."""
    for entry in sorted(entry_points(group="nnunetv2.trainers"), key=lambda entry: entry.name):
        if entry.module.startswith("nnunet_ext."):
            text = _docstring(entry.module, entry.attr)
            for name, default, meaning in re.findall(r"^``(NNUNET_EXT_\w+)`` \((.+)\)\n((?:[ ]+.+\n?)+)", text, re.M):
                yield name, default.strip("`"), " ".join(meaning.split()), entry.name, f"{entry.module}.{entry.attr}"


def _docstring(module: str, name: str) -> str:
    """Return the docstring of a class without importing its module."""
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8"))
    nodes = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    return ast.get_docstring(next(nodes)) or ""


def _first_paragraph(text: str) -> str:
    return " ".join(text.split("\n\n")[0].split())


def _in_table(text: str) -> str:
    """Return a docstring's text for a table cell."""
    return text.replace("|", "\\|")


# --- modules ----------------------------------------------------------------------------------------------------------


def packages() -> list[str]:
    """Return the dotted names of all packages that hold public modules."""
    return [
        name
        for name in sorted(_found_packages(), key=lambda name: (PACKAGES.index(name.split(".")[0]), name))
        if modules(name)
    ]


def _found_packages() -> Iterator[str]:
    for package in PACKAGES:
        for init in (ROOT / package).rglob("__init__.py"):
            yield ".".join(init.parent.relative_to(ROOT).parts)


def modules(package: str) -> list[str]:
    """Return the dotted names of the public modules directly in a package."""
    folder = ROOT / package.replace(".", "/")
    return [f"{package}.{path.stem}" for path in sorted(folder.glob("*.py")) if not path.stem.startswith("_")]


def _page_of(package: str) -> str:
    return f"reference/python/{package}.md"


def package_page(package: str) -> str:
    """Return the page of a package: its modules in a table, then everything public in each."""
    found = modules(package)
    rows = [f"| [`{name.split('.')[-1]}`][{name}] | {_in_table(_summary(name))} |" for name in found]
    bodies = [f"::: {name}" for name in found]
    return (
        "\n\n".join([f"# {package}", _OWN.format(package), "\n".join(["| module | |", "|---|---|", *rows]), *bodies])
        + "\n"
    )


_OWN = """::: {}
    options:
      show_root_heading: false
      show_root_toc_entry: false
      show_submodules: false"""


def _summary(module: str) -> str:
    """Return the first paragraph of a module's docstring."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    return _first_paragraph(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")


if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

"""README and docs: their links lead somewhere, and the commands that they show are commands that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ddiffpg_cli.main import build_parser

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "policies").glob("*.md")])
COMMANDS = sorted(
    {
        line.split("#")[0].strip()
        for page in PAGES
        for block in re.findall(r"^```\w*\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)
        for line in block.splitlines()
        if line.startswith("ddiffpg ")
    }
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)", page.read_text(encoding="utf-8"))
    assert [t for t in targets if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_that_are_named_exist(page: Path) -> None:
    named = re.findall(r"\b(?:docs|tests|sim|cli|launch|scripts|benchmarks|policies)/[\w./-]+\.(?:md|py|yaml|onnx)\b",
                       page.read_text(encoding="utf-8"))  # fmt: skip
    assert [n for n in named if "NAME" not in n and not (ROOT / n).exists()] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_that_are_shown_exist(command: str) -> None:
    build_parser().parse_args(shlex.split(command)[1:])


def test_the_pages_show_the_tour() -> None:
    shown = {command.split()[1] for command in COMMANDS}
    assert {"tasks", "train", "eval", "distill", "export", "inspect", "run", "demo"} <= shown

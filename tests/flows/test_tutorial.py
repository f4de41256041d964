"""A newcomer who follows docs/tutorial.md to the letter, in an empty folder; the terminal's text is kept.

To renew it, delete tests/golden/tutorial.txt, run the test, and read what it wrote.
"""

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flows.processes import environment, tastegraph

PROJECT = Path(__file__).parents[2]
GOLDEN = PROJECT / "tests/golden/tutorial.txt"
BLOCK = re.compile(r"(?P<marker><!-- not run: [^\n]+ -->\n)?```(?P<language>sh|python)\n(?P<text>.*?)```", re.DOTALL)
VARIES = {  # what differs from one day, machine or library to the next
    r"\d{8}T\d{6}Z": "RUN",
    r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00": "TIME",
    r"[\d.,]+ (s|MiB)\b": r"# \1",
    r"-?\d+\.\d+(e-\d+)?": "#",
    r"photo\d\d": "photo##",
    r"\d+( rows +\S+/reasons/| reasons)": r"#\1",  # a signal that adds nothing has no row
}


@dataclass(frozen=True)
class Walk:
    """What the newcomer typed and saw, and the folder in which they did it."""

    folder: Path
    terminal: str


@pytest.fixture(scope="module")
def walk(prefect_server, tmp_path_factory) -> Walk:
    folder = tmp_path_factory.mktemp("newcomer")
    env = environment(folder / "prefect", PREFECT_API_URL=prefect_server, COLUMNS="100")
    said: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in BLOCK.finditer((PROJECT / "docs/tutorial.md").read_text()):
            if block["marker"]:
                continue
            if block["language"] == "python":
                exec(compile(block["text"], "tutorial.md", "exec"), {})
                continue
            for line in block["text"].splitlines():
                program, *words = shlex.split(line)
                assert program == "tastegraph"
                ended = tastegraph(*words, env=env)
                assert ended.returncode == 0, ended.stderr[-3000:]
                said += [f"$ {line}", ended.stdout.strip("\n"), ""]
    return Walk(folder, "\n".join(said).replace(f"{folder}/", "~/"))


def settled(text: str) -> list[str]:
    """The lines without what varies, and without the width of a table's columns."""
    for pattern, name in VARIES.items():
        text = re.sub(pattern, name, text)
    return [re.sub(r"[ ━─]+", " ", line).strip() for line in text.splitlines()]


def test_the_terminal_shows_a_newcomer_what_it_showed_when_the_tutorial_was_written(walk):
    if not GOLDEN.exists():
        GOLDEN.write_text(walk.terminal)
    assert settled(walk.terminal) == settled(GOLDEN.read_text())


def test_the_session_in_the_readme_is_of_that_terminal(walk):
    session = re.search(r"```console\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)

    assert session
    assert {line for line in settled(session[1]) if line} <= set(settled(walk.terminal))


def test_the_notebook_explores_what_the_newcomer_published(walk, monkeypatch):
    notebook = json.loads((PROJECT / "docs/explore.ipynb").read_text())
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    monkeypatch.chdir(walk.folder)
    names: dict[str, object] = {}
    for cell in cells:
        exec(compile("".join(cell["source"]), cell["id"], "exec"), names)

    assert names["user"] == "ann"
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)

"""Foreign text on the terminal: letter by letter, whatever it holds."""

import json
import logging
import os
import shlex
import subprocess
import sys
from types import SimpleNamespace

import polars as pl
import pytest
from typer.testing import CliRunner

from flows import terminal
from flows.cli import app
from flows.printing.nights import print_published, print_validation
from flows.terminal import JsonFormatter, say, say_error, say_table, visible
from storage import parquet, snapshots
from storage.manifests import Manifest
from storage.roots import Root
from storage.sources.findings import Finding
from storage.tables.recommendations import RECOMMENDATIONS
from storage.tables.similar import SIMILAR_IMAGES
from tasks.data.validate import Validation
from tasks.runtime.caching import uncached_stage
from tasks.runtime.ledger import Ledger
from tasks.runtime.whereabouts import RUN

MARKUP = ["u[a]", "u[/b]", "[bold]c", "[/]", ":smile:", "[link=file:///etc]x[/link]", "key[source],value[/model/1.jpg]"]
HOSTILE = {"\x1b[2Jgone": "\\x1b[2Jgone", "a\nRun x is current.": "a\\nRun x is current.", "\u202egpj": "\\u202egpj"}


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Root:
    """A root whose ids are markup, terminal control and a letter that few terminals have."""
    root = Root(str(tmp_path_factory.mktemp("published")))
    ids = [*MARKUP, *HOSTILE, "猫"]
    lists = {"rank": pl.Series(range(1, len(ids) + 1), dtype=pl.Int32), "score": [0.5] * len(ids)}
    tables = {
        RECOMMENDATIONS: {"user_id": ["u[/b]"] * len(ids), "image_id": ids, "model": ["m"] * len(ids)},
        SIMILAR_IMAGES: {"image_id": ["key[/x]"] * len(ids), "similar_image_id": ids},
    }
    files = {
        table.name: [parquet.write(table, pl.DataFrame({**lists, **rows}), root)] for table, rows in tables.items()
    }
    manifest = Manifest(run_id="night-1", generated_at="2026-01-01T00:00:00+00:00", metrics=[], settings={})
    snapshots.publish(root, manifest, files, {"index.html": b"", "report.json": b"{}"}, current=True)
    return root


@pytest.mark.parametrize(
    "command", [["recommend", "--user", "u[/b]"], ["similar", "--image", "key[/x]"]], ids=lambda command: command[0]
)
def test_lists_show_every_id_letter_by_letter(published, command):
    shown = CliRunner().invoke(app, [*command, "--root", published.address])

    assert shown.exit_code == 0, shown.exception
    assert f"of {command[2]}, run night-1" in shown.stdout
    assert all(f"│ {text} " in shown.stdout for text in (*MARKUP, *HOSTILE.values(), "猫"))
    assert not terminal.CONTROL.search(shown.stdout.replace("\n", ""))


def test_a_run_that_does_not_exist_is_answered_with_the_way_to_those_that_do(published):
    shown = CliRunner().invoke(app, ["show", "--root", published.address, "--run", "night-2"])

    assert "no run night-2 was published here; `tastegraph show` lists all runs" in str(shown.exception)


def test_ids_that_are_wider_than_the_terminal_are_shown_to_their_last_letter(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    say_table(("image_id", "score"), [("x" * 100 + "END", 0.5)])
    shown = capsys.readouterr().out

    assert shown.count("x") == 100
    assert "END" in "".join(line.split("│")[1].strip() for line in shown.splitlines() if "│" in line)


def test_what_a_night_prints_is_letter_by_letter(capsys):
    folder = "/data/[/red]/\x1b]0;title\x07"
    night = SimpleNamespace(
        is_new=False,
        run_id="[/x]",
        is_current=True,
        reasons=["[/a]"],
        warnings=["[/b]"],
        rows={"t[/c]": 1},
        folder=folder,
    )
    print_published(night, folder)
    account = {"file": "favorites[/d].csv", "read": 1, "kept": 1, "quarantined": {"odd [/e]": 1}, "forgotten": 0}
    report = {"tables": {"t[/f]": account}, "pictures": {"decoded": 0, "to_fetch": 0, "quarantined": {"[/g]": 1}}}
    found = Finding("t", "odd", 1, [{"row": 0, "value": "[/h]", "text": "[/i]"}], "mend it")
    print_validation(Validation(report, [found], None))
    shown = capsys.readouterr().out

    assert all(f"[/{letter}]" in shown for letter in "abcdefghix")
    assert shown.count("/data/[/red]/\\x1b]0;title\\x07") == 4
    assert "\x1b" not in shown


def test_the_ids_that_an_error_names_reach_the_terminal_as_letters(published):
    refused = run_main("recommend", "--root", published.address, "--user", "\x1b[31m[/x]")

    assert refused.returncode == 1
    said = "tastegraph: user_id '\\x1b[31m[/x]' has no row in recommendations of run night-1; near ones: "
    assert refused.stderr.startswith(said)
    assert "\x1b" not in refused.stderr


def test_errors_keep_their_lines_and_show_other_control_characters(capsys):
    say_error("one: \x1b[31m\rtwo\nthree: \udcff")

    assert capsys.readouterr().err == "tastegraph: one: \\x1b[31m\\rtwo\nthree: \\udcff\n"


def test_the_log_is_letter_by_letter(capsys):
    formatter = terminal.VisibleFormatter("%(message)s")
    record = logging.LogRecord("tastegraph", logging.INFO, "", 0, "unknown file %s", ("a\n\x1b[2J",), None)

    assert formatter.format(record) == "unknown file a\\n\\x1b[2J"


def test_letters_of_every_script_stay_as_they_are():
    for text in ("猫", "می‌خواهم", "👩‍👩‍👧", "Größe", "e\u0301", "a b", "हिन्दी"):
        assert visible(text) == text


def test_a_line_has_no_markup_and_its_style_is_a_word_apart(capsys):
    say("[red]no[/red] :smile: 12", "red")

    assert capsys.readouterr().out == "[red]no[/red] :smile: 12\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_terminal_of_another_encoding_gets_escapes_for_the_letters_that_it_lacks(published, encoding):
    shown = run_main("recommend", "--root", published.address, "--user", "u[/b]", encoding=encoding)

    assert shown.returncode == 0, shown.stderr
    assert ("猫" if encoding == "utf-8" else "\\u732b") in shown.stdout


def test_a_suggested_command_is_quoted_for_the_shell(tmp_path):
    root = tmp_path / "my root; rm -rf $HOME"
    root.mkdir()
    refused = CliRunner().invoke(app, ["show", "--root", str(root)])
    command = str(refused.exception).split("`")[1]

    assert shlex.split(command) == ["tastegraph", "nightly", "--root", str(root)]


def test_an_import_suggests_a_command_that_a_shell_can_run(tmp_path):
    download, source = tmp_path / "ml", tmp_path / "my source [1]"
    download.mkdir()
    (download / "movies.csv").write_text("movieId,title,genres\n1,Heat (1995),Crime\n")
    (download / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,5.0,964982703\n")
    shown = CliRunner().invoke(app, ["import", "movielens", str(download), "--out", str(source)])
    (command,) = (line.removeprefix("  check it    ") for line in shown.stdout.splitlines() if "check it" in line)

    assert shlex.split(command) == ["tastegraph", "validate", "--source", str(source)]


def test_answers_for_programs_are_json_without_nan(capsys):
    from flows.printing.common import print_json

    print_json({"value": float("nan"), "rows": [{"p": float("-inf"), "id": "\x1b[/x]"}, (1.5, None)]})
    said = capsys.readouterr().out

    assert json.loads(said, parse_constant=pytest.fail) == {
        "value": None,
        "rows": [{"p": None, "id": "\x1b[/x]"}, [1.5, None]],
    }
    assert "\x1b" not in said


def run_main(*arguments: str, encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, on a terminal of this encoding."""
    command = [sys.executable, "-c", "from flows.cli import main; main()", *arguments]
    env = {"PYTHONPATH": ":".join(sys.path), "PYTHONIOENCODING": encoding, "COLUMNS": "100"}
    return subprocess.run(command, check=False, capture_output=True, encoding=encoding, env=env, timeout=60)


# -- the log as JSON ---------------------------------------------------------------------------------------------------


@pytest.fixture
def lines(caplog) -> list[dict]:
    """What is logged, line by line as JSON; each is formatted where it is logged."""
    found: list[dict] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(json.loads(JsonFormatter().format(record)))

    handler, log = Kept(), logging.getLogger("tastegraph")
    log.addHandler(handler)
    with caplog.at_level("INFO", "tastegraph"):
        yield found
    log.removeHandler(handler)


def test_a_line_of_json_says_run_stage_and_what_happened(lines):
    @uncached_stage
    def count_images() -> None:
        logging.getLogger("tastegraph").warning("100 %% of %s\x1b[2J", "images")

    token = RUN.set("night-1")
    count_images.runs.task.fn()
    Ledger().note("count-images", "ran", 1.25)
    RUN.reset(token)
    try:
        raise ValueError("no such disk")
    except ValueError:
        logging.getLogger("tastegraph").exception("failed")

    times = [line.pop("time") for line in lines]
    assert all(moment.endswith("+00:00") for moment in times)
    assert lines[0] == {
        "level": "warning",
        "run": "night-1",
        "stage": "count-images",
        "message": "100 % of images\x1b[2J",
    }
    assert lines[1] == {
        "level": "info",
        "run": "night-1",
        "stage": "count-images",
        "message": "ran in 1.2 s",
        "outcome": "ran",
        "seconds": 1.25,
    }
    assert (lines[2]["run"], lines[2]["stage"]) == (None, None)
    assert lines[2]["traceback"].endswith("ValueError: no such disk")


@pytest.mark.parametrize(("wanted", "is_json"), [("", True), ("json", True), ("text", False), ("xml", False)])
def test_the_log_is_json_where_stderr_is_no_terminal_unless_it_is_to_be_text(wanted, is_json):
    lines = (
        "import logging; from flows.terminal import log_errors, prepare_terminal, say_error; prepare_terminal();"
        "say_error('before'); log_errors(); logging.getLogger('tastegraph').info('%-18s ran', 'ingest'); say_error('x')"
    )
    env = {**os.environ, "TASTEGRAPH_LOG": wanted}
    said = subprocess.run([sys.executable, "-c", lines], check=True, env=env, capture_output=True, text=True).stderr
    if is_json:
        assert said.splitlines()[0] == "tastegraph: before"
        info, error = map(json.loads, said.splitlines()[1:])
        assert (info["stage"], info["message"], error["level"], error["message"]) == ("ingest", "ran", "error", "x")
    else:
        assert said.endswith("tastegraph: before\ningest             ran\ntastegraph: x\n")
        assert ("write json or text" in said) == (wanted == "xml")

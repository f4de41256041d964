"""Every command as a user types it, on a root of which the first command made everything."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import polars as pl
import pytest

from tests import world
from tests.flows.processes import BIN, answer, environment, started, tastegraph, wait_until, without_start

COMMANDS = (
    *("nightly", "config", "doctor", "validate", "import", "evaluate", "compare", "tune"),
    *("recommend", "similar", "show", "diff", "rollback", "publish", "forget", "verify", "gc"),
)


@dataclass(frozen=True)
class Home:
    """A user's root and shell. There is no Prefect server: the command line starts one and ends it."""

    root: Path
    env: dict[str, str]
    night: list[str]  # the arguments of the night, but its root
    first: CompletedProcess[str]

    def run(self, *arguments: object) -> CompletedProcess[str]:
        return tastegraph(*arguments, env=self.env)


@pytest.fixture(scope="module")
def home(source, settings_file, tmp_path_factory) -> Home:
    root = tmp_path_factory.mktemp("home") / "made" / "by" / "the" / "night"
    env = environment(root / "prefect")
    del env["PREFECT_HOME"]  # the command line puts it below the root
    night = ["nightly", "--source", str(source), "--config", str(settings_file)]
    first = tastegraph(*night, "--root", root, env=env)
    assert first.returncode == 0, first.stderr[-3000:]
    return Home(root, env, night, first)


@pytest.fixture
def served(home, prefect_server) -> dict[str, str]:
    """A shell that knows a running Prefect server, which saves the seconds that it takes to start one."""
    return {**home.env, "PREFECT_API_URL": prefect_server}


@pytest.fixture
def bad_source(source, tmp_path) -> Path:
    folder = tmp_path / "bad"
    folder.mkdir()
    shutil.copy(source / "images.parquet", folder)
    return folder


def only_line(text: str) -> str:
    """The one line of an error, and no more."""
    (line,) = text.splitlines()
    return line


def test_the_night_tells_its_stages_what_came_out_and_where(home):
    said = home.first.stdout
    run_id = json.loads((home.root / "exports" / "current.json").read_text())["run_id"]

    assert f"Run {run_id} is current." in said
    assert f"{world.NUM_USERS} rows  {home.root}/exports/runs/run_id={run_id}/user_embeddings/" in said
    assert f"{home.root}/exports/runs/run_id={run_id}/report/index.html" in said
    figures = next(line for line in said.splitlines() if line.split()[:2] == ["full", "ndcg@20"])
    assert len([float(figure) for figure in figures.split()[2:]]) == 3  # of the system, popularity, random
    assert "quarantined" in said
    assert (home.root / "exports" / "runs" / f"run_id={run_id}" / "report" / "index.html").exists()
    stages = [line.split()[0] for line in home.first.stderr.splitlines()]
    assert {"ingest", "train-cdl", "publish"} <= set(stages)
    assert (home.root / "prefect").is_dir()
    assert "Traceback" not in home.first.stderr


def test_a_second_night_has_nothing_to_do_and_says_which_stages_it_reused(home, served):
    again = tastegraph(*home.night, "--root", home.root, env=served)

    assert again.returncode == 0
    assert "Nothing to do" in again.stdout
    reused = {line.split()[0] for line in again.stderr.splitlines() if line.endswith(" reused")}
    assert {"ingest", "decode-images", "train-cdl", "recommend", "evaluate"} <= reused
    assert " ran in " not in again.stderr


def test_a_night_that_the_gate_stops_ends_with_3_and_says_why(home, served):
    changes = ["--set", "training.learning_rate=1e-9", "--run-id", "worse"]
    worse = tastegraph(*home.night, "--root", home.root, *changes, env=served)
    shown = home.run("show", "--root", home.root)

    assert worse.returncode == 3
    assert "Run worse was kept, but not made current." in worse.stdout
    assert "above random: " in worse.stdout
    assert "worse  " in shown.stdout
    assert "failed: " in shown.stdout


def test_show_tells_the_runs_and_which_is_current(home):
    shown, runs = home.run("show", "--root", home.root), answer("show", "--root", home.root)
    current = json.loads((home.root / "exports" / "current.json").read_text())["run_id"]

    assert runs["current"] == current
    of_one, took = (
        home.run("show", "--root", home.root, "--run", current),
        answer("show", "--root", home.root, "--run", current),
    )
    assert "train-cdl" in of_one.stdout
    assert next(row for row in took["stages"] if row["stage"] == "train-cdl")["cpu_s"] > 0
    assert current in [run["run_id"] for run in runs["runs"]]
    assert f"{current} (current)" in shown.stdout
    assert "system   cdl" in shown.stdout
    assert "ndcg" in shown.stdout.lower()


def test_a_user_gets_images_of_their_taste_best_first(home):
    shown = home.run("recommend", "--root", home.root, "--user", "user00", "-k", 3)
    rows = answer("recommend", "--root", home.root, "--user", "user00", "-k", 3)

    assert [row["rank"] for row in rows] == [1, 2, 3]
    assert all(row["image_id"] in shown.stdout for row in rows)
    assert all(int(row["image_id"].removeprefix("image")) < world.NUM_IMAGES // 2 for row in rows)


def test_an_image_has_similar_images(home):
    shown = home.run("similar", "--root", home.root, "--image", "image59", "-k", 2)
    rows = answer("similar", "--root", home.root, "--image", "image59", "-k", 2)

    assert [row["rank"] for row in rows] == [1, 2]
    assert all(row["similar_image_id"] in shown.stdout for row in rows)


def test_held_out_favorites_are_scored(home, tmp_path):
    test = tmp_path / "test.csv"
    test.write_text("user_id,image_id\nuser00,image03\nuser23,image40\nnobody,image01\n")
    shown = home.run("evaluate", "--root", home.root, "--test", test)
    figures = answer("evaluate", "--root", home.root, "--test", test)

    assert shown.returncode == 0
    assert "ndcg@20" in shown.stdout
    assert {(row["metric"], row["k"]) for row in figures["metrics"]} == {
        (metric, k) for metric in ("recall", "ndcg", "hit_rate") for k in (10, 20)
    }
    assert (figures["users"], figures["rows"]) == (2, 3)


def test_held_out_favorites_that_the_run_ingested_are_counted(home, source, tmp_path):
    test = tmp_path / "test.csv"
    pl.read_csv(source / "favorites.csv").select("user_id", "image_id").head(5).write_csv(test)
    shown = home.run("evaluate", "--root", home.root, "--test", test)

    assert "5 rows of the file are favorites that run" in shown.stdout
    assert "learned from" in shown.stdout


def test_held_out_favorites_of_nobody_that_the_run_knows_are_refused(home, tmp_path):
    test = tmp_path / "test[1].csv"
    test.write_text("user_id,image_id\n1.0,image03\n2.0,image40\n")
    refused = home.run("evaluate", "--root", home.root, "--test", test)

    assert refused.returncode == 1
    assert f"{test}: none of its users is in run" in only_line(refused.stderr)
    assert "it names '1.0', '2.0'; the run has 'user00'" in refused.stderr


def test_a_good_source_is_valid_and_its_rows_are_counted(home, source):
    shown, report = home.run("validate", "--source", source), answer("validate", "--source", source)

    assert shown.returncode == 0
    assert "favorites.csv" in shown.stdout
    assert report["tables"]["images"]["kept"] == world.NUM_IMAGES


def test_validate_shows_each_reason_with_its_first_rows_and_whether_the_night_would_run(home, tmp_path):
    (tmp_path / "images.csv").write_text("image_id\n1\n2\n")
    (tmp_path / "favorites.csv").write_text("user_id,image_id\nu1,1\n" + "".join(f"u1,{n}.0\n" for n in range(5)))
    refused, report = home.run("validate", "--source", tmp_path), home.run("validate", "--source", tmp_path, "--json")
    lenient = home.run("validate", "--source", tmp_path, "--set", "ingest.max_quarantined_share=1")

    assert (refused.returncode, report.returncode, lenient.returncode) == (1, 1, 0)
    lines = refused.stdout.splitlines()
    assert "favorites: 5 dangling reference. Ids end in .0, as pandas writes" in refused.stdout
    assert [line.split()[:3] for line in lines if line.startswith("  row")] == [
        ["row", str(n + 1), f"{n}.0"] for n in range(3)
    ]
    assert lines[-1] == "The nightly run would not run on this source."
    assert "5 of 8 rows break a rule" in only_line(refused.stderr)
    assert not json.loads(report.stdout)["would_run"]
    assert lenient.stdout.splitlines()[-1] == "The nightly run would run on this source."


@pytest.fixture
def download(tmp_path) -> Path:
    """A MovieLens of two films and a poster."""
    folder = tmp_path / "ml"
    folder.mkdir()
    (folder / "movies.csv").write_text("movieId,title,genres\n1,Toy Story (1995),Comedy\n2,Heat (1995),Crime\n")
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n1,1,5.0,964982703\n1,2,3.0,964982704\n")
    return folder


def test_an_import_tells_what_it_left_out_and_the_result_is_valid(home, download, tmp_path):
    shown = home.run("import", "movielens", download, "--out", tmp_path / "source")
    again = home.run("import", "movielens", download, "--out", tmp_path / "source")
    replaced = home.run(
        "import", "movielens", download, "--out", tmp_path / "source", "--threshold", 3, "--overwrite", "--json"
    )
    valid = answer("validate", "--source", tmp_path / "source")

    assert shown.returncode == 0, shown.stderr
    assert "1 rating below 4" in shown.stdout
    assert f"tastegraph validate --source {tmp_path}/source" in shown.stdout
    assert again.returncode == 1
    assert "add --overwrite" in only_line(again.stderr)
    assert json.loads(replaced.stdout)["tables"]["favorites"]["kept"] == 2
    assert valid["tables"]["favorites"]["kept"] == 2


def test_an_import_that_is_asked_to_stop_leaves_nothing_behind(home, download, tmp_path):
    (download / "ratings.csv").unlink()
    os.mkfifo(download / "ratings.csv")  # nobody writes into it, so the import waits there
    command = [str(BIN / "tastegraph"), "import", "movielens", str(download), "--out", str(tmp_path / "source")]
    with started(command, home.env, tmp_path / "log") as process:
        wait_until((tmp_path / ".source.importing" / ".work").exists, "it begins", process, tmp_path / "log")
        process.terminate()
        assert process.wait(60) == 143

    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "ml"]
    assert (tmp_path / "log").read_text() == "tastegraph: stopped; nothing was written\n"


def test_an_unknown_importer_ends_with_2_and_those_there_are(home, download, tmp_path):
    refused = home.run("import", "netflix", download, "--out", tmp_path / "source")

    assert refused.returncode == 2
    assert all(name in refused.stderr for name in ("netflix", "dvbpr", "hetrec-lastfm", "recbole"))


@pytest.mark.parametrize("command", ["validate", "nightly"])
def test_a_source_that_is_refused_ends_with_1_and_one_line_that_says_why(served, bad_source, tmp_path, command):
    root = ["--root", tmp_path / "root"] if command == "nightly" else []
    refused = tastegraph(command, "--source", bad_source, *root, env=served)

    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith(f"tastegraph: {bad_source}: no table favorites")
    assert len(refused.stderr.splitlines()) <= 3  # a night says that it starts, and which stage failed


def test_a_setting_that_does_not_exist_ends_with_2_and_is_named_with_the_choices(home):
    refused = home.run(*home.night, "--root", home.root, "--set", "training.epoch=3")

    assert refused.returncode == 2
    line = only_line(without_start(refused.stderr))
    assert all(word in line for word in ("training.epoch:", "epochs", "learning_rate"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recommend", "--user", "nobody"], "'nobody'"),
        (["similar", "--image", "nothing"], "'nothing'"),
    ],
)
def test_an_id_without_rows_is_named(home, arguments, said):
    refused = home.run(*arguments, "--root", home.root)

    assert refused.returncode == 1
    assert said in only_line(refused.stderr)


@pytest.mark.parametrize("arguments", [["show"], ["recommend", "--user", "user00"], ["similar", "--image", "image00"]])
def test_a_root_where_nothing_is_published_says_what_to_do(home, tmp_path, arguments):
    refused = home.run(*arguments, "--root", tmp_path)

    assert refused.returncode == 1
    assert "run `tastegraph nightly" in only_line(refused.stderr)


def test_help_names_every_command_and_its_options(home):
    assert all(command in home.run("--help").stdout for command in COMMANDS)
    said = home.run("nightly", "--help").stdout
    assert all(option in said for option in ("--source", "--root", "--config", "--set", "--run-id", "--json"))

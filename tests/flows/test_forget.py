"""Whoever is forgotten is in no byte below the root, and the next night does not bring them back."""

import hashlib
import json
import shutil
import sqlite3
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
import torch
from click.testing import Result
from typer.testing import CliRunner

from flows import settings
from flows.cli import app
from flows.nightly import nightly
from flows.settings import NightlyConfig
from storage import checkpoints, leases, snapshots, tombstones
from storage.leases import BusyError
from storage.roots import Root
from storage.settings.demo import DemoConfig
from storage.sources.demo.community import write_demo
from tasks.runtime import ledger
from tasks.upkeep.forget import Forgotten, forget
from tests.storage.servers import moto_server

pytestmark = pytest.mark.usefixtures("prefect_server")


def night_of(system: str) -> NightlyConfig:
    return settings.validate(
        {
            "model": {"system": system},
            "evaluation": {"min_users": 5},
            "images": {"size_px": 16, "shard_images": 20},
            "word2vec": {"dimensions": 8},
            "clusters": {"num_clusters": 32},
            "recommend": {"num_recommendations": 10, "num_similar": 5},
            "gate": {"metric_fall": [None, None]},  # of so few users a figure is noise
        }
    )


NIGHT = night_of("ease")


@dataclass(frozen=True)
class Home:
    """A root with two published nights of the demo community, and who is to be forgotten."""

    source: Path
    root: Path
    user: str  # has favorites, follows and is followed, owns images, stands in lists and in the report
    image: str  # is in somebody's list, and in the report

    @property
    def place(self) -> Root:
        return Root(str(self.root))

    def copied(self, folder: Path) -> "Home":
        return Home(self.source, Path(shutil.copytree(self.root, folder / "root")), self.user, self.image)

    def forget(self, **named: str) -> Forgotten:
        return forget({kind: frozenset({id_}) for kind, id_ in named.items()}, self.place)

    def exported(self, table: str) -> pl.DataFrame:
        pointer = snapshots.current(self.place)
        assert pointer is not None
        return pl.read_parquet(snapshots.dataset(self.place, pointer, table))


def run(source: Path, root: object, config: NightlyConfig = NIGHT, run_id: str | None = None):
    """One night; returns how it ended, and the stages that ran."""
    state = nightly(str(source), str(root), config, run_id, return_state=True)
    lines = ledger.of_run(str(state.state_details.flow_run_id)).lines.values()
    return state.result(), {line.stage for line in lines if line.ran}


@pytest.fixture(scope="module")
def made(tmp_path_factory, prefect_server) -> Home:
    source, root = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("root")
    write_demo(DemoConfig(users=30, images=60, picture_px=16), source)
    run(source, root, night_of("itemknn"), "older")
    published, _ = run(source, root, run_id="newest")
    assert published.is_current, published.reasons
    checkpoints.store({"model": {"weight": torch.ones(1)}}, "cdl", Root(str(root)))
    with sqlite3.connect(root / "prefect.db") as history:  # as Prefect's own, where its home lies below the root
        history.execute("CREATE TABLE log (message TEXT)")
    history.close()
    page = (root / "exports/runs/run_id=newest/report/index.html").read_text()
    contacts, images = pl.read_csv(source / "contacts.csv"), pl.read_parquet(source / "images.parquet")
    favorites = pl.read_csv(source / "favorites.csv")
    everywhere = set(contacts["user_id"]) & set(contacts["contact_id"]) & set(images["owner_id"])
    user = next(user for user in sorted(everywhere & set(favorites["user_id"])) if f'data-user="{user}"' in page)
    image = next(image for image in favorites["image_id"].sort() if f'data-image="{image}"' in page)
    return Home(source, root, user, image)


@pytest.fixture
def home(made, tmp_path) -> Home:
    return made.copied(tmp_path)


def naming(word: str, root: Path) -> set[str]:
    """The files whose bytes, place or cells hold a word."""
    found = set()
    for file in (file for file in root.rglob("*") if file.is_file()):
        place, content = file.relative_to(root).as_posix(), file.read_bytes()
        cells = pl.read_parquet(file).write_json() if file.suffix == ".parquet" else ""
        if file.suffix == ".arrow":
            with pa.ipc.open_file(content) as reader:
                cells = str(reader.read_all()["image_id"].to_pylist())
        if word in place or word in cells or word.encode() in content:
            found.add(place)
    return found


def assert_is_valid(home: Home) -> None:
    """The pointer, the manifest and the files agree, and ranks have no gap."""
    pointer = snapshots.current(home.place)
    assert pointer is not None
    manifest = snapshots.manifest(home.place, pointer.run_id)
    for file in manifest.files:
        content = (home.root / file.path).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (file.bytes, file.sha256)
    assert replace(pointer, change=None) == snapshots.Pointer.of(manifest)
    for table, group in ("recommendations", "user_id"), ("similar_images", "image_id"):
        rows = home.exported(table)
        assert rows.height == pointer.rows[table]
        assert rows.group_by(group).agg(ok=pl.col("rank") == pl.int_range(1, pl.len() + 1))["ok"].list.all().all()


def test_no_byte_of_a_forgotten_user_is_left_and_the_next_night_does_not_bring_them_back(home, tmp_path):
    with sqlite3.connect(home.root / "prefect.db") as history:
        history.execute("INSERT INTO log VALUES (?)", (f"user {home.user} has none",))
    history.close()
    before, lists = naming(home.user, home.root), home.exported("recommendations")
    done = home.forget(user=home.user)

    kinds = {"/".join(Path(path).parts[:2]) for path in before}
    assert {"exports/runs", "tables/favorites", "tables/user_embeddings", "tables/images", "prefect.db"} <= kinds
    assert naming(home.user, home.root) == set()
    assert (done.users, done.is_new) == (1, True)
    assert_is_valid(home)
    assert home.exported("recommendations").equals(lists.filter(pl.col("user_id") != home.user))

    source = Path(shutil.copytree(home.source, tmp_path / "source"))
    titles = [f"{title} for {home.user}" for title in pl.read_parquet(source / "images.parquet")["title"]]
    pl.read_parquet(source / "images.parquet").with_columns(title=pl.Series(titles)).write_parquet(
        source / "images.parquet"
    )
    published, ran = run(source, home.root)
    assert naming(home.user, home.root) == set()
    assert {"ingest", "fit-system", "recommend", "publish"} <= ran
    assert "decode-images" not in ran  # no image is gone, so no shard is
    assert "without somebody who was forgotten" in snapshots.manifest(home.place, published.run_id).incremental["why"]
    assert home.exported("user_embeddings")["user_id"].to_list() == sorted(set(lists["user_id"]) - {home.user})
    counted = snapshots.manifest(home.place, published.run_id).ingest["tables"]
    assert counted["users"]["forgotten"] == 1
    assert counted["contacts"]["forgotten"] > 1
    assert counted["images"]["cleared"] > 0


def test_a_forgotten_image_leaves_the_lists_and_the_report_and_the_ranks_close_up(home):
    before, embeddings = naming(home.image, home.root), home.exported("image_embeddings")
    page = home.root / "exports/runs/run_id=newest/report/index.html"
    pictures = page.read_text().count("<figure")
    done = home.forget(image=home.image)

    assert any(path.startswith("shards/pixels/") for path in before)
    assert "exports/runs/run_id=newest/report/report.json" in before
    assert naming(home.image, home.root) == set()
    assert_is_valid(home)
    assert home.exported("image_embeddings").equals(embeddings.filter(pl.col("image_id") != home.image))
    page = home.root / f"exports/runs/run_id={done.run_id}/report/index.html"
    assert 0 < page.read_text().count("<figure") < pictures
    assert done.run_id in page.read_text()

    _, ran = run(home.source, home.root)
    assert naming(home.image, home.root) == set()
    assert "decode-images" in ran


def test_older_runs_that_name_them_go_and_so_do_states_with_a_row_of_theirs(home):
    states = {path.parent.name for path in (home.root / "checkpoints").glob("*/*")}
    done = home.forget(user=home.user)

    assert states == {"ease", "itemknn", "cdl", "looks"}
    assert [manifest.run_id for manifest in snapshots.runs(home.place)] == [done.run_id]
    assert [folder.name for folder in (home.root / "exports/runs").iterdir()] == [f"run_id={done.run_id}"]
    assert {path.parent.name for path in (home.root / "checkpoints").glob("*/*")} == {"cdl", "looks"}  # nobody's rows


def test_of_a_comparison_go_the_figures_that_name_them_and_nothing_else(home):
    for user in (home.user, "somebody"):
        file = (
            home.root / "comparisons" / "full-1" / "users" / f"of_{'them' if user == home.user else 'others'}.parquet"
        )
        file.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"user_id": [user], "value": [0.5]}).write_parquet(file)
    pl.DataFrame({"system": ["ease"], "value": [0.5]}).write_parquet(home.root / "comparisons/full-1/results.parquet")
    home.forget(user=home.user)

    left = {file.name for file in (home.root / "comparisons").rglob("*.parquet")}
    assert left == {"results.parquet", "of_others.parquet"}


def test_an_unknown_id_is_refused_and_nothing_happens(home):
    content = {file: file.read_bytes() for file in home.root.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match=r"nothing here names user 'nobody-b1946a', so nothing was done"):
        forget({"user": frozenset({"nobody-b1946a", home.user})}, home.place)

    assert {file: file.read_bytes() for file in home.root.rglob("*") if file.is_file()} == content


def test_who_asks_before_the_first_night_is_in_no_night(home, tmp_path):
    early = Home(home.source, tmp_path / "early", home.user, home.image)
    done = forget({"user": frozenset({home.user})}, early.place, even_if_unknown=True)
    run(early.source, early.root, night_of("popularity"))

    assert (done.run_id, done.files) == (None, 0)
    assert naming(home.user, early.root) == set()
    assert forget({"user": frozenset({home.user})}, early.place).files == 0  # again, as a cautious person asks


def test_while_a_flow_is_at_work_nobody_is_forgotten_and_the_error_says_what_to_do(home):
    with leases.shared(home.place, "nightly"), pytest.raises(BusyError, match=r"nightly .* is at work here"):
        home.forget(user=home.user)

    assert naming(home.user, home.root) != set()
    assert not tombstones.read(home.place).digests


def command(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_a_forgetting_that_was_killed_is_finished_when_it_is_called_again(home, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr("tasks.upkeep.forget._sweep", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            home.forget(user=home.user)
    current = snapshots.current(home.place)
    assert naming(home.user, home.root) != set()
    done = home.forget(user=home.user)

    assert current is not None
    assert (done.run_id, done.is_new) == (current.run_id, False)  # the pointer had moved already
    assert naming(home.user, home.root) == set()


def test_a_user_forgotten_at_the_command_line_has_no_list_any_more(home):
    arguments = ("--root", home.root, "--user", home.user)
    answer = json.loads(command("forget", *arguments, "--json").stdout)
    unknown = command("forget", "--root", home.root, "--user", "nobody-b1946a")

    assert (answer["users"], answer["is_new"]) == (1, True)
    assert "has no row in recommendations" in str(command("recommend", *arguments).exception)
    assert "nothing here names user 'nobody-b1946a'" in str(unknown.exception)
    assert command("forget", "--root", home.root).exit_code == 2


def test_all_in_a_source_s_table_of_tombstones_are_forgotten_known_or_not(home, tmp_path):
    source = Path(shutil.copytree(home.source, tmp_path / "source"))
    (source / "tombstones.csv").write_text(f"kind,id\nuser,{home.user}\nimage,i-never-seen\n")
    said = command("forget", "--root", home.root, "--source", source).stdout

    assert "Forgot 1 users and 1 images." in said
    assert "published without them" in said
    assert naming(home.user, home.root) == set()


def test_in_a_bucket_and_on_this_machine_no_byte_is_left(home, tmp_path, monkeypatch):
    with moto_server() as server:
        here = server.root(monkeypatch, scratch := tmp_path / "scratch")
        for file in home.root.rglob("*"):
            if file.is_file() and "older" not in str(file):
                here.write(file.relative_to(home.root).as_posix(), file.read_bytes())
        pointer = snapshots.current(here)
        assert pointer is not None
        snapshots.dataset(here, pointer, "recommendations")  # a reader fetched a copy
        assert naming(home.user, scratch) != set()
        done = forget({"user": frozenset({home.user})}, here)
        fetched = tmp_path / "fetched"
        for entry in here.entries():
            Root(str(fetched)).write(entry.path, here.read(entry.path))

    assert done.is_new
    assert naming(home.user, fetched) | naming(home.user, scratch) == set()
    assert_is_valid(Home(home.source, fetched, home.user, home.image))

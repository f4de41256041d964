"""From the community to the export: a crawl as a user types it, and the night on what it leaves."""

import json
import os
from pathlib import Path

import polars as pl
import pytest
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL

from flows import settings
from flows.errors import SettingsError
from flows.nightly import nightly
from storage import snapshots
from storage.roots import Root
from storage.settings.flickr import FlickrConfig
from tasks.data.crawl import api_key
from tests import world
from tests.flows.collector import Collector, values_of
from tests.flows.processes import environment, tastegraph
from tests.storage.sources.flickr.community import make
from tests.storage.sources.flickr.server import KEY, served

LOOPBACK = {"pictures.private_hosts": ["127.0.0.1"], "budget.requests_per_hour": 10**8, "budget.burst": 10**6}
TASKS = ["read-lists", "fetch-pictures", "write-source"]


@pytest.fixture(scope="module")
def flickr():
    with served(make(60, 400)) as flickr:
        yield flickr


@pytest.fixture(scope="module")
def arguments(flickr) -> list[str]:
    """A crawl of the server, but for its folder."""
    settings_given = {**LOOPBACK, "api.endpoint": f"{flickr.address}/services/rest/", "api.backoff_s": 0.01}
    sets = [word for name, value in settings_given.items() for word in ("--set", f"{name}={value}")]
    return ["crawl", "flickr", "--user", flickr.community.first, "--depth", "9", *sets]


@pytest.fixture(scope="module")
def env(prefect_server, tmp_path_factory) -> dict[str, str]:
    return environment(tmp_path_factory.mktemp("home"), PREFECT_API_URL=prefect_server, FLICKR_API_KEY=KEY)


@pytest.fixture(scope="module")
def crawled(arguments, env, tmp_path_factory):
    """A crawl in a shell of its own, with more logged than anybody would; and its folder."""
    out = tmp_path_factory.mktemp("crawled") / "flickr"
    talkative = {"PREFECT_LOGGING_LEVEL": "DEBUG"}
    return tastegraph(*arguments, "--out", out, env=env | talkative), out


def test_a_crawl_tells_its_tasks_and_what_came_out(crawled, flickr):
    done, out = crawled

    assert done.returncode == 0, done.stderr[-3000:]
    assert f"60 rows  {out}/users.parquet" in done.stdout
    assert f"{flickr.requests():,} requests" in done.stdout
    assert [line.split()[0] for line in done.stderr.splitlines() if " ran in " in line] == TASKS


def test_the_key_is_in_nothing_that_a_crawl_says_or_leaves(crawled, env):
    done, out = crawled
    database = Path(str(PREFECT_SERVER_DATABASE_CONNECTION_URL.value()).partition("///")[2])
    left = [file for folder in (out, database.parent, Path(env["PREFECT_HOME"])) for file in folder.rglob("*")]

    assert KEY not in done.stdout + done.stderr
    assert database in left
    assert all(KEY.encode() not in file.read_bytes() for file in left if file.is_file())


def test_what_was_crawled_goes_through_the_night_to_the_export(crawled, prefect_server, tmp_path):
    root = Root(str(tmp_path))
    published = nightly(str(crawled[1]), str(tmp_path), settings.validate(world.SETTINGS))
    manifest, pointer = snapshots.manifest(root, published.run_id), snapshots.current(root)
    lists = pl.read_parquet(snapshots.dataset(root, pointer, "recommendations"))
    favorites = pl.read_parquet(crawled[1] / "favorites.parquet")

    assert published.is_current
    assert manifest.image_input == "pixels"
    assert set(lists["user_id"]) == set(pl.read_parquet(crawled[1] / "users.parquet")["user_id"])
    assert lists.join(favorites, on=["user_id", "image_id"], how="semi").is_empty()


def test_a_second_crawl_asks_for_nothing_answers_in_json_and_its_log_and_trace_name_the_run(
    crawled, arguments, env, flickr
):
    before = flickr.asked.total()
    with Collector() as collector:
        told = {"TASTEGRAPH_LOG": "json", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        again = tastegraph(*arguments, "--out", crawled[1], "--json", env=env | told)
        result = json.loads(again.stdout)
        spans = {span.name: values_of(span) for span in collector.spans}
    lines = [json.loads(line) for line in again.stderr.splitlines()]
    ended = [(line["run"], line["stage"]) for line in lines if line.get("outcome") == "ran"]

    assert (result["requests"], result["pictures_asked"], result["rows"]["users"]) == (0, 0, 60)
    assert flickr.asked.total() == before
    assert ended == [(spans["crawl-flickr"]["tastegraph.run_id"], stage) for stage in TASKS]
    assert set(spans) == {"crawl-flickr", *TASKS}


def test_a_key_that_is_not_taken_ends_with_1_and_one_line_that_says_why(arguments, env, tmp_path):
    refused = tastegraph(*arguments, "--out", tmp_path / "flickr", env={**env, "FLICKR_API_KEY": "wrong"})

    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith("tastegraph: Flickr does not take the API key (Invalid API Key")
    assert "Traceback" not in refused.stderr
    assert "wrong" not in refused.stdout + refused.stderr


def test_settings_of_the_crawl_are_read_from_a_file_and_from_the_command_line(tmp_path):
    file = tmp_path / "crawl.yaml"
    file.write_text("lists: {per_page: 50}\npictures: {sizes: [m, z]}\n")
    read = settings.load_as(FlickrConfig, str(file), ["lists.per_page=60"]).config

    assert (read.lists.per_page, read.pictures.sizes) == (60, ("m", "z"))
    with pytest.raises(SettingsError, match=r"budget\.per_hour: there is no such .* budget\.requests_per_hour\?"):
        settings.load_as(FlickrConfig, None, ["budget.per_hour=3"])
    with pytest.raises(SettingsError, match=r"training: .*api, budget, lists, pictures"):
        settings.load_as(FlickrConfig, None, ["training.epochs=3"])


def test_the_key_may_lie_in_a_prefect_secret(prefect_server, monkeypatch):
    monkeypatch.delitem(os.environ, "FLICKR_API_KEY", raising=False)
    with pytest.raises(ValueError, match="no Flickr API key: set FLICKR_API_KEY, or create a Prefect Secret"):
        api_key()
    Secret(value=KEY).save("flickr-api-key", overwrite=True)

    assert api_key().get_secret_value() == KEY
    assert KEY not in repr(api_key())

"""The night with its source and its root in a bucket, on real S3 servers on loopback."""

import json
from pathlib import Path

import boto3
import pytest
from moto.core.responses import ActionAuthenticatorMixin

from storage import snapshots
from storage.roots import Root, s3_client
from tests.flows.processes import answer, environment, tastegraph
from tests.storage.servers import moto_server, rclone_server

DEPLOY = Path(__file__).parents[2] / "deploy"


def upload(folder: Path, root: Root) -> None:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            root.write(file.relative_to(folder).as_posix(), file.read_bytes())


def as_the_policy_allows(source: Root, root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on the environment's user has the rights of deploy/s3-policy.json, and the server denies all others."""
    policy = (DEPLOY / "s3-policy.json").read_text()
    for name, place in (("SOURCE-BUCKET", source), ("ROOT-BUCKET", root)):
        policy = policy.replace(name, place.address.removeprefix("s3://").split("/")[0])
    iam = boto3.client("iam")
    iam.create_user(UserName="tastegraph")
    iam.put_user_policy(UserName="tastegraph", PolicyName="s3", PolicyDocument=policy)
    key = iam.create_access_key(UserName="tastegraph")["AccessKey"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
    monkeypatch.setattr(ActionAuthenticatorMixin, "request_count", 0)
    monkeypatch.setattr("moto.settings.INITIAL_NO_AUTH_ACTION_COUNT", 0)
    s3_client.client.cache_clear()


@pytest.fixture
def env(prefect_server, tmp_path):
    """The environment of a shell, read on request: after the test has made its bucket."""
    return lambda: environment(tmp_path / "prefect", PREFECT_API_URL=prefect_server)


def test_a_night_from_bucket_to_bucket_publishes_is_read_and_is_reused_with_no_more_rights_than_the_policy_gives(
    source, settings_file, env, tmp_path, monkeypatch
):
    with moto_server() as server:
        there, here = (server.root(monkeypatch, tmp_path / "scratch") for _ in ("source", "root"))
        upload(source, there)
        as_the_policy_allows(there, here, monkeypatch)
        night = ["nightly", "--source", there.address, "--root", here.address, "--config", settings_file, "--json"]
        first, second = (tastegraph(*night, env=env()) for _ in ("first", "second"))
        shown = tastegraph("show", "--root", here.address, env=env())
        listed = answer("recommend", "--root", here.address, "--user", "user00")
        test = tmp_path / "test.csv"
        test.write_text("user_id,image_id\nuser00,image03\n")
        scored = answer("evaluate", "--root", here.address, "--test", test)
        pointer = snapshots.current(here)
        with pytest.raises(OSError, match="AccessDenied"):
            there.write("favorites.csv", b"")

    assert (first.returncode, second.returncode) == (0, 0), first.stderr[-3000:] + second.stderr[-3000:]
    published, again = json.loads(first.stdout), json.loads(second.stdout)
    assert pointer is not None
    assert pointer.run_id == published["run_id"] == again["run_id"]
    assert published["folder"].startswith(here.address)
    assert (published["is_new"], again["is_new"]) == (True, False)
    assert " ran in " not in second.stderr
    assert f"{pointer.run_id} (current)" in shown.stdout
    assert len(listed) == 10
    assert scored["users"] == 1
    assert "promise" not in first.stderr  # this store honours conditional puts


def test_a_store_takes_the_rule_that_ends_abandoned_uploads_below_the_root_and_deletes_nothing_else(
    tmp_path, monkeypatch
):
    with moto_server() as server:
        bucket, _, prefix = server.root(monkeypatch, tmp_path).address.removeprefix("s3://").partition("/")
        rules = json.loads((DEPLOY / "s3-lifecycle.json").read_text().replace("ROOT-PREFIX", prefix))
        s3 = boto3.client("s3")
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules)
        (kept,) = s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]

    assert (kept["Status"], kept["Filter"]) == ("Enabled", {"Prefix": f"{prefix}/"})
    assert kept["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 2}
    assert set(kept) == {"ID", "Status", "Filter", "AbortIncompleteMultipartUpload"}


def test_on_a_store_without_conditional_puts_the_night_publishes_and_the_log_says_which_promise_is_weaker(
    source, settings_file, env, tmp_path, monkeypatch
):
    with rclone_server(tmp_path / "buckets") as server:
        here = server.root(monkeypatch, tmp_path / "scratch")
        night = tastegraph(
            "nightly", "--source", source, "--root", here.address, "--config", settings_file, "--json", env=env()
        )
        pointer = snapshots.current(here)

    assert night.returncode == 0, night.stderr[-3000:]
    assert pointer is not None
    assert pointer.run_id == json.loads(night.stdout)["run_id"]
    assert "two nights publish in the same instant" in night.stderr

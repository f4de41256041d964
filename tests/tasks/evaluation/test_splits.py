"""Splits of a comparison: which favorites are held out, and whether the others keep their times."""

import numpy as np
import polars as pl
import pytest

from storage import parquet, tombstones
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import FAVORITES
from storage.tables.splits import CONCEALED
from tasks.data.pairs import take_pairs, with_tested_users
from tests.tasks.evaluation.comparison import figures_of, split_of


def test_a_split_by_time_without_times_is_refused(table, root):
    with pytest.raises(ValueError, match="favorited_at"):
        split_of(table, root, "time")


def timed(table: dict[str, Ref], root: Root) -> dict[str, Ref]:
    """The community, each favorite a second after the one above it."""
    favorites = pl.DataFrame(parquet.read(table["favorites"], root))
    at = pl.Series("favorited_at", (1000 * np.arange(len(favorites))).astype("datetime64[ms]"))
    return table | {"favorites": parquet.write(FAVORITES, favorites.with_columns(at), root)}


@pytest.mark.parametrize("protocol", ["full", "cold", "cold_users", "auc", "paper", "time"])
def test_times_are_kept_only_where_the_latest_favorites_are_held_out(table, root, protocol):
    with_times = timed(table, root)
    splits = split_of(with_times, root, protocol)
    num_favorites = len(parquet.read(with_times["favorites"], root))

    for split in (splits.tuning, splits.final):
        times = parquet.read(split.training, root)["favorited_at"]
        assert times.null_count == (0 if protocol == "time" else len(times)) < num_favorites


def test_times_are_kept_where_a_given_test_holds_the_latest_favorites(table, root):
    with_times = timed(table, root)
    favorites = pl.DataFrame(parquet.read(with_times["favorites"], root))
    latest = favorites.sort("favorited_at").group_by("user_id").last().select("user_id", "image_id")
    test = parquet.write(CONCEALED, latest, root)

    times = parquet.read(split_of(with_times, root, "full", test).final.training, root)["favorited_at"]
    assert times.null_count == 0 < len(times) == len(favorites) - len(latest)


@pytest.mark.parametrize("protocol", ["full", "cold", "cold_users", "auc", "paper"])
def test_no_favorite_is_both_learned_from_and_held_out(table, root, protocol):
    splits = split_of(table, root, protocol)
    everything, (final, heldout), (tuning, validation) = (
        pairs(table["favorites"], root),
        *((pairs(split.training, root), pairs(split.heldout, root)) for split in (splits.final, splits.tuning)),
    )

    assert heldout
    assert final | heldout == everything
    assert tuning | validation == final
    assert not final & heldout
    assert not tuning & validation


def pairs(ref: Ref, root: Root) -> set[tuple[str, str]]:
    return set(parquet.scan(ref, root).select("user_id", "image_id").collect().rows())


def test_the_deciding_metric_depends_on_the_protocol(table, root):
    test = parquet.write(CONCEALED, {"user_id": ["user00"], "image_id": ["image59"]}, root)
    deciding = {name: split_of(table, root, name).final for name in ("full", "cold", "auc", "paper")}
    deciding["given"] = split_of(table, root, "full", test).final

    assert {name: (split.metric, split.k) for name, split in deciding.items()} == {
        "full": ("ndcg", 10),  # as the published figures of random splits
        "given": ("ndcg", 20),
        "cold": ("ndcg", 20),
        "auc": ("auc", 0),
        "paper": ("precision", 5),  # as long as the thresholds allow
    }
    assert deciding["paper"].thresholds
    assert deciding["auc"].cold_below == 5


def test_a_test_file_without_a_known_user_is_refused(table, root):
    test = parquet.write(CONCEALED, {"user_id": ["nobody"], "image_id": ["image00"]}, root)
    with pytest.raises(ValueError, match="no row of the file of held-out favorites names a user of the community"):
        split_of(table, root, "full", test)


def test_a_test_that_leaves_no_favorite_to_learn_from_is_refused(table, root):
    rows = parquet.read(table["favorites"], root, ["user_id", "image_id"])
    everything = parquet.write(CONCEALED, pl.DataFrame(rows), root)
    with pytest.raises(ValueError, match=r"the test holds out all \d+ favorites .* none is left to learn from"):
        split_of(table, root, "full", everything)


def test_favorites_of_the_test_file_are_not_learned_from(table, root):
    rows = pl.DataFrame(parquet.read(table["favorites"], root, ["user_id", "image_id"]))
    first = rows.unique("user_id", keep="first", maintain_order=True)
    split = split_of(table, root, "full", parquet.write(CONCEALED, first, root)).final

    assert pairs(split.heldout, root) == set(first.rows())
    assert pairs(split.training, root) == set(rows.rows()) - set(first.rows())


def test_forgotten_users_leave_a_test_file(root, tmp_path):
    file = tmp_path / "test.csv"
    pl.DataFrame({"user_id": ["a", "b"], "image_id": ["i", "i"]}).write_csv(file)
    tombstones.add({"user": frozenset({"a"}), "image": frozenset()}, root)

    assert pairs(take_pairs(str(file), root), root) == {("b", "i")}
    assert take_pairs(None, root) is None


def test_users_whom_only_a_test_file_names_are_tested_as_users_without_favorites(table, root, tmp_path):
    file, source = tmp_path / "test.csv", Root(str(tmp_path / "source"))
    favorite = sorted(pairs(table["favorites"], root))[0]
    pl.DataFrame([favorite, ("stranger", "image00")], ["user_id", "image_id"], orient="row").write_csv(file)
    test = take_pairs(str(file), root)
    with_stranger = with_tested_users(table, [test, None], source, root)
    split = split_of(with_stranger, root, "full", test).final

    assert pairs(split.heldout, root) == {favorite, ("stranger", "image00")}
    results = figures_of("popularity", with_stranger, split, root)
    assert set(results) == set(figures_of("popularity", table, split_of(table, root, "full", test).final, root))
    assert users_of(with_stranger["users"], root) == sorted([*users_of(table["users"], root), "stranger"])
    assert {name: ref for name, ref in with_stranger.items() if name != "users"} == {
        name: ref for name, ref in table.items() if name != "users"
    }


def test_nobody_is_added_who_is_to_be_forgotten_or_of_another_communitys_file(table, root, tmp_path):
    file, source = tmp_path / "test.csv", Root(str(tmp_path / "source"))
    (user, image), *_ = sorted(pairs(table["favorites"], root))
    pl.DataFrame({"user_id": ["stranger"], "image_id": [image]}).write_csv(file)
    assert with_tested_users(table, [None, take_pairs(str(file), root)], source, root) is table
    pl.DataFrame({"user_id": ["stranger", user], "image_id": [image, image]}).write_csv(file)
    pl.DataFrame({"kind": ["user"], "id": ["stranger"]}).write_csv(tmp_path / "source" / "tombstones.csv")
    assert with_tested_users(table, [take_pairs(str(file), root), None], source, root) is table
    assert with_tested_users(table, [None, None], source, root) is table


def users_of(ref: Ref, root: Root) -> list[str]:
    return parquet.read(ref, root)["user_id"].to_pylist()

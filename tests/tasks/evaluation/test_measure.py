"""Figures of a fitted system on what was held out."""

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array

from models.evaluation import metrics, protocols
from storage import parquet
from tasks.data.community import CommunityTables, read_community
from tasks.data.pairs import take_pairs
from tests.tasks.evaluation.comparison import TasteConfig, figures_of, split_of


def test_full_ranking_masks_what_was_learned_and_counts_what_was_held_out(table, root):
    split = split_of(table, root).final
    indexed = read_community(CommunityTables(table, split.training), root)
    held = {row["user_id"]: row["image_id"] for row in parquet.read(split.heldout, root).to_pylist()}
    users_Ud, images_Id = protocols.random_vectors(len(indexed.users), len(indexed.images), seed=0)
    scores = users_Ud @ images_Id.T - 100 * indexed.community.favorites_UI.toarray()
    order = np.argsort(-scores, axis=1, kind="stable")
    places = [
        int(np.flatnonzero(indexed.images[order[row]] == held[user])[0]) for row, user in enumerate(indexed.users)
    ]

    measured = figures_of("random", table, split, root)
    assert measured["full", "all", "hit_rate", 10] == pytest.approx(np.mean([place < 10 for place in places]))
    assert measured["full", "all", "ndcg", 20] == pytest.approx(
        np.mean([place < 20 and 1 / np.log2(place + 2) for place in places])
    )
    assert 0 < measured["full", "all", "coverage", 20] <= 1


@pytest.mark.parametrize("protocol", ["full", "cold", "cold_users", "auc", "paper"])
def test_a_system_without_vectors_is_measured_as_one_with_them(table, root, popularity_without_vectors, protocol):
    split = split_of(table, root, protocol).final

    assert figures_of(popularity_without_vectors, table, split, root) == figures_of("popularity", table, split, root)


def test_held_out_images_that_nobody_can_list_stay_in_the_denominator(table, root, taste, tmp_path):
    favorites = parquet.read(table["favorites"], root).to_pylist()
    rows = [{key: favorites[0][key] for key in ("user_id", "image_id")}, {"user_id": "user00", "image_id": "elsewhere"}]
    file = tmp_path / "test.csv"
    pl.DataFrame([*rows, {"user_id": "nobody", "image_id": "image01"}]).write_csv(file)
    split = split_of(table, root, "full", take_pairs(str(file), root)).final
    measured = figures_of("taste", table, split, root)

    assert parquet.read(split.training, root).num_rows == len(favorites) - 1
    assert measured["full", "warm", "recall", 20] in (0.0, 1.0)
    assert measured["full", "all", "recall", 20] <= 0.5
    assert measured["full", "cold", "recall", 20] == 0


def test_cold_images_are_ranked_among_themselves(table, root):
    split = split_of(table, root, "cold").final
    measured = figures_of("random", table, split, root)

    assert split.candidates.rows == 6
    assert measured["cold", "all", "recall", 10] == 1  # a list of ten holds all six
    assert ("cold", "warm", "recall", 10) not in measured


def test_the_favorite_left_out_is_ranked_against_all_unobserved_images(table, root, taste):
    split = split_of(table, root, "auc").final
    indexed = read_community(CommunityTables(table, split.training), root)
    system = taste(TasteConfig())
    system.fit(indexed.community)
    held = parquet.read(split.heldout, root).to_pylist()
    rows = [np.flatnonzero(indexed.images == row["image_id"])[0] for row in held]
    observed = csr_array(indexed.community.favorites_UI)
    expected = metrics.auc(system.score(np.arange(24)), np.array(rows), observed)

    assert figures_of("taste", table, split, root)["auc", "all", "auc", 0] == pytest.approx(expected.mean())


def test_both_versions_of_the_papers_protocol_are_measured_at_every_length(table, root, taste):
    measured = figures_of("taste", table, split_of(table, root, "paper").final, root)

    assert {(protocol, k) for protocol, _, metric, k in measured if metric == "precision"} == {
        (protocol, k) for protocol in ("paper", "paper_matched", "paper_both") for k in range(1, 6)
    }
    assert measured["paper", "all", "precision", 5] > 0.2

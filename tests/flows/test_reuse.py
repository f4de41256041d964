"""What a night reuses of the previous run's output, by the version of the code that made it."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from flows import learn, lists
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import COMMUNITY
from tasks.cdl.embed import PreviousEmbeddings, embedding_code
from tasks.cdl.trained import Trained
from tasks.settings.lists import PolicyConfig, RecommendConfig
from tasks.systems.lists import ListBlock
from tasks.systems.model import Embeddings, Fitted, Model


def ref(name: str, rows: int = 1) -> Ref:
    return Ref(name, f"tables/{name}.parquet", name.ljust(64, "0"), rows, 10)


TRAINED = Trained(ref("checkpoint"), [3], 2, [], "cpu")
MODEL = Model("ease", "ease-1", ref("users"), ref("images"), Embeddings(ref("u"), [ref("i")]), None)


def previous(code: str, trained: Trained = TRAINED) -> Any:
    """The previous run's CDL, embedded by this code."""
    return SimpleNamespace(
        cdl=SimpleNamespace(trained=trained, inputs=SimpleNamespace(shards=[ref("shard")])),
        model=SimpleNamespace(embeddings=Embeddings(ref("users"), [ref("images")], code)),
        tastes=SimpleNamespace(profiles=SimpleNamespace(profiles=ref("profiles"))),
    )


def test_embeddings_are_reused_where_the_same_network_and_the_same_code_made_them():
    reused = learn._embedded(previous(embedding_code()), TRAINED)

    assert len(reused.images) == 1
    assert reused.users is not None


@pytest.mark.parametrize(
    "last",
    [None, previous("an earlier version"), previous(embedding_code(), replace(TRAINED, num_clusters=3))],
    ids=["no previous run", "other code", "another network"],
)
def test_embeddings_of_other_code_or_another_network_are_computed_again(last):
    assert learn._embedded(last, TRAINED) == PreviousEmbeddings()


@pytest.mark.parametrize("change", [{}, {"code": "an earlier version"}, {"config": RecommendConfig(num_similar=1)}])
def test_lists_are_brought_up_to_date_only_where_the_same_code_and_settings_made_them(monkeypatch, change):
    given: list[Any] = []
    block = ListBlock(ref("exported"), ref("reserve"))
    monkeypatch.setattr(lists.recommend, "map", lambda *_: [block])
    monkeypatch.setattr(type(lists.find_similar), "__call__", lambda _, *args: given.append(args[-1]) or ref("similar"))
    monkeypatch.setattr(lists, "unsearched", lambda value: value)
    model = replace(MODEL, fitted=Fitted("ease", "1", {}, ref("state")))
    policy = lists.policy_of({table.name: ref(table.name) for table in COMMUNITY}, [], PolicyConfig())
    profiles = SimpleNamespace(of="tags")
    request = lists.request_lists(model, ref("favorites"), profiles, RecommendConfig(), policy)
    first = lists.make_lists(request, RecommendConfig(), [], Root("data"), None, None)
    lists.make_lists(request, RecommendConfig(), [], Root("data"), None, replace(first, **change))

    other = replace(request, policy=replace(policy, config=PolicyConfig(own_uploads=True)))
    lists.make_lists(other, RecommendConfig(), [], Root("data"), None, first)

    assert [last is not None for last in given] == [False, not change, False]

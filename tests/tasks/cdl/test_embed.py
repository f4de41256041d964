"""CDL's embeddings, shard by shard."""

import numpy as np
import pytest

from models.settings.network import CDLConfig
from models.settings.training import TrainingConfig
from tasks.cdl.embed import Network, embed_images, embed_users
from tasks.cdl.train import train_cdl
from tasks.data.reuse import ShardOutput
from tasks.runtime import ledger
from tasks.systems.model import read_embeddings
from tests.tasks.cdl.conftest import USER_IDS, WITH_INPUT


@pytest.fixture
def network(chain) -> Network:
    trained = train_cdl.fn(chain.training_tables(), CDLConfig(), TrainingConfig(epochs=40), None, chain.root)
    return Network(trained, CDLConfig(), "cpu")


def test_inner_products_rank_the_images_of_a_users_taste_first(chain, network):
    images = [embed_images.fn(shard, network, chain.root, []) for shard in chain.inputs]
    users, users_Ud = read_embeddings([embed_users.fn(chain.profiles, network, chain.root, None)], chain.root)
    image_ids, images_Id = read_embeddings(images, chain.root)
    scores_UI = users_Ud @ images_Id.T

    assert (users.tolist(), image_ids.tolist()) == (USER_IDS, WITH_INPUT)
    assert set(np.argsort(-scores_UI[0])[:2]) <= {0, 1, 2, 3}
    assert set(np.argsort(-scores_UI[2])[:2]) <= {4, 5, 6}


def test_unchanged_rows_of_the_previous_run_are_reused(chain, network):
    with ledger.account() as first:
        images = embed_images.fn(chain.inputs[0], network, chain.root, [])
        users = embed_users.fn(chain.profiles, network, chain.root, None)
    with ledger.account() as second:
        again = embed_images.fn(chain.inputs[0], network, chain.root, [ShardOutput(chain.inputs[0], images)])
        users_again = embed_users.fn(chain.profiles, network, chain.root, ShardOutput(chain.profiles, users))

    assert dict(first.work) == {"images embedded": 4, "users embedded": 4}
    assert not any(second.work.values())
    assert (again, users_again) == (images, users)

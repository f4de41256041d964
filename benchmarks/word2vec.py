"""How well word2vec's image vectors predict favorites, for several settings; on validation, never on test.

    TASTEGRAPH_DATA=... python benchmarks/word2vec.py [COMMUNITY]

A validation favorite and another image of the same popularity are scored by the cosine with the mean of the user's
training vectors. The figure is the share of pairs in which the favorite comes first: .5 is chance.
"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.preprocessing import normalize

from storage import matrices
from tasks.data import word2vec
from tasks.data.word2vec import Sentences
from tasks.settings.word2vec import Word2VecConfig

SETTINGS = {
    "10 epochs at .05": Word2VecConfig(epochs=10, learning_rate=0.05),
    "10 epochs at .1": Word2VecConfig(epochs=10, learning_rate=0.1),
    "20 epochs at .05": Word2VecConfig(epochs=20, learning_rate=0.05),
    "10 epochs at .1, window 10": Word2VecConfig(epochs=10, learning_rate=0.1, window=10),
}


def main() -> None:
    """Print a line for each setting, over two seeds."""
    folder = Path(os.environ["TASTEGRAPH_DATA"]) / (sys.argv[1] if len(sys.argv) > 1 else "flickr-social")
    favorites, validation = (pq.read_table(folder / f"{name}.parquet") for name in ("favorites", "official_val"))
    users, images = matrices.ids_of(favorites["user_id"]), matrices.ids_of(favorites["image_id"])
    val_UI, all_UI = (
        matrices.incidence(rows["user_id"], rows["image_id"], users, images) for rows in (validation, favorites)
    )
    training_UI = (all_UI - all_UI.multiply(val_UI)).tocsr()
    training_UI.eliminate_zeros()
    user, image = val_UI.nonzero()
    popularity_I = np.bincount(training_UI.indices, minlength=len(images))
    is_warm = (popularity_I[image] > 0) & (np.diff(training_UI.indptr)[user] > 0)
    user, image = user[is_warm], image[is_warm]
    other = _as_popular(popularity_I, image)
    print(f"{folder.name}: {len(user):,} pairs of {len(np.unique(user)):,} users")
    for name, config in SETTINGS.items():
        shares, seconds = [], []
        for seed in (0, 1):
            started = time.perf_counter()
            tokens, _, vectors = word2vec.train(Sentences(images, (training_UI,)), replace(config, seed=seed))
            seconds.append(time.perf_counter() - started)
            vectors_Id = np.zeros((len(images), vectors.shape[1]), np.float32)
            vectors_Id[matrices.rows_of(pa.array(tokens), images)] = normalize(vectors)
            taste_Ud = normalize(training_UI @ vectors_Id)
            liked, not_liked = (np.einsum("nd,nd->n", taste_Ud[user], vectors_Id[rows]) for rows in (image, other))
            shares.append(np.mean((liked > not_liked) + 0.5 * (liked == not_liked)))
        print(f"{name:28} {np.mean(shares):.3f} (seeds {shares[0]:.3f}, {shares[1]:.3f})  {np.median(seconds):.0f} s")


def _as_popular(popularity_I: np.ndarray, image: np.ndarray) -> np.ndarray:
    """For each image another one, at random among its hundred neighbours in the order of popularity."""
    rng = np.random.default_rng(0)
    warm = np.flatnonzero(popularity_I)
    order = warm[np.lexsort((rng.random(len(warm)), popularity_I[warm]))]
    place_I = np.empty(len(popularity_I), np.int64)
    place_I[order] = np.arange(len(order))
    step = rng.choice(np.r_[-50:0, 1:51], len(image))
    place = place_I[image] + step
    return np.asarray(order[np.where((place < 0) | (place >= len(order)), place_I[image] - step, place)])


if __name__ == "__main__":
    main()

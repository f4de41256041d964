"""A tiny world with two communities of taste, small enough to reason about: red likes red, blue likes blue."""

import json
from pathlib import Path

import numpy as np
import polars as pl
from PIL import Image

NUM_USERS, NUM_IMAGES = 24, 60  # the first half of each is red
FAVORITES_EACH = 12


def write_source(folder: Path, seed: int = 0) -> Path:
    """A source directory in the contract: pictures, favorites, tags, contacts, groups."""
    rng = np.random.default_rng(seed)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    images = [f"image{number:02d}" for number in range(NUM_IMAGES)]
    users = [f"user{number:02d}" for number in range(NUM_USERS)]
    color = {name: "red" if row < NUM_IMAGES // 2 else "blue" for row, name in enumerate(images)}
    taste = {name: "red" if row < NUM_USERS // 2 else "blue" for row, name in enumerate(users)}
    for name in images:
        pixels = rng.integers(0, 90, (24, 24, 3), dtype=np.uint8)
        pixels[..., 0 if color[name] == "red" else 2] += 150
        Image.fromarray(pixels).save(folder / "pictures" / f"{name}.png")
    pl.DataFrame(
        {
            "image_id": images,
            "path": [f"pictures/{name}.png" for name in images],
            "title": [f"A {color[name]}" for name in images],
        }
    ).write_parquet(folder / "images.parquet")
    favorites = [
        (user, images[row])
        for user in users
        for row in rng.permutation(NUM_IMAGES // 2)[:FAVORITES_EACH] + (0 if taste[user] == "red" else NUM_IMAGES // 2)
    ]
    pl.DataFrame(favorites, schema=["user_id", "image_id"], orient="row").write_csv(folder / "favorites.csv")
    words = {"red": ["rose", "fire", "ruby"], "blue": ["sea", "sky", "ice"]}
    with (folder / "image_tags.jsonl").open("w") as file:
        for name in images:
            for tag in words[color[name]][: 1 + int(rng.integers(3))]:
                file.write(json.dumps({"image_id": name, "tag": tag}) + "\n")
    pl.DataFrame(
        [(user, tag, int(rng.integers(1, 5))) for user in users for tag in words[taste[user]]],
        schema=["user_id", "tag", "count"],
        orient="row",
    ).write_csv(folder / "user_tags.csv")
    half = NUM_USERS // 2
    contacts = [(users[row], users[(row + 1) % half + (row // half) * half]) for row in range(NUM_USERS)]
    pl.DataFrame(contacts, schema=["user_id", "contact_id"], orient="row").write_csv(folder / "contacts.csv")
    pl.DataFrame({"user_id": users[::3], "group_id": [taste[user] for user in users[::3]]}).write_csv(
        folder / "memberships.csv"
    )
    return folder


SETTINGS = {
    "model": {"system": "cdl", "refit": False},
    "evaluation": {"min_users": 5},
    "images": {"size_px": 16, "shard_images": 20},
    "word2vec": {"dimensions": 8},
    "recommend": {"num_recommendations": 10, "num_similar": 5, "block_users": 16},
    "training": {"epochs": 6, "checkpoint_steps": 2},
    "triplets": {"pool_images": 16},
}
"""Settings under which the world's night takes seconds."""

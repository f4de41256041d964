"""H&M's personalised fashion: articles are images, purchases are favorites."""

from pathlib import Path

import polars as pl

from storage.sources.importers.base import ImportConfig, importer
from storage.sources.importers.reading import is_given
from storage.sources.importers.writing import SourceWriter

TAGS = (  # columns of an article; the other columns are their numbers, or redundant
    "product_type_name",
    "product_group_name",
    "graphical_appearance_name",
    "colour_group_name",
    "perceived_colour_value_name",
    "perceived_colour_master_name",
    "department_name",
    "index_name",
    "index_group_name",
    "section_name",
    "garment_group_name",
)
ID_DIGITS = 10  # a copy from a spreadsheet lacks leading zeros, the pictures' names have them


@importer("hm")
def read(folder: Path, source: SourceWriter, config: ImportConfig) -> None:
    """H&M Personalized Fashion (Kaggle): articles.csv, transactions_train.csv, customers.csv, images/."""
    if config.images is None and (folder / "images").is_dir():
        source.take_pictures(folder / "images")
    article = pl.col("article_id").str.zfill(ID_DIGITS)
    for rows in source.rows("images", folder / "articles.csv", ("article_id", "prod_name", *TAGS)):
        source.add("images", rows.select(image_id=article, title="prod_name"))
        tagged = rows.select(article, *TAGS).unpivot(TAGS, index="article_id", value_name="tag")
        missing = pl.when(pl.col("tag").str.to_lowercase() == "unknown").then(pl.lit("unknown"))
        source.add("image_tags", tagged.filter(is_given("tag")).select("tag", image_id="article_id", left_out=missing))
    for rows in source.rows("users", folder / "customers.csv", ("customer_id",)):
        source.add("users", rows.select(user_id="customer_id"))
    for rows in source.rows("favorites", folder / "transactions_train.csv", ("t_dat", "customer_id", "article_id")):
        day = pl.col("t_dat").str.to_date("%Y-%m-%d", strict=False)
        unreadable = pl.when(is_given("t_dat") & day.is_null()).then(pl.lit("unreadable time"))
        source.add(
            "favorites",
            rows.select(user_id="customer_id", image_id=article, favorited_at=day.dt.epoch("s"), left_out=unreadable),
        )

"""H&M."""

from pathlib import Path

import polars as pl

from storage.sources.importers import hm
from tests.storage.sources.importers.contract import ImporterContract, picture


class TestHM(ImporterContract):
    name = "hm"
    tables = {
        "images": {
            ("0108775015", "images/010/0108775015.jpg", "Strap top"),
            ("0110065001", None, 'OP T-shirt "Idro"'),
        },
        "favorites": {("ab12", "0108775015", 1537401600), ("cd34", "0110065001", 1537488000)},
        "image_tags": {
            ("0108775015", tag) for tag in ("vest top", "solid", "black", "dark", "jersey basic", "ladieswear")
        } | {("0110065001", tag) for tag in ("bra", "under-, nightwear")},
        "users": {("ab12",), ("cd34",), ("never bought",)},
    }  # fmt: skip
    left_out = {
        "favorites": {"no such image": 1, "repeated": 1, "unreadable time": 1},
        "image_tags": {"repeated": 1, "unknown": 1},
        "images": {"unreadable row": 1},
    }

    def write(self, folder: Path) -> Path:
        columns = ("article_id", "product_code", "prod_name", *hm.TAGS, "detail_desc")
        strap = dict.fromkeys(columns, "") | {
            "article_id": "0108775015",
            "prod_name": "Strap top",
            "product_type_name": "Vest top",
            "graphical_appearance_name": "Solid",
            "colour_group_name": "Black",
            "perceived_colour_master_name": "Black",
            "perceived_colour_value_name": "Dark",
            "garment_group_name": "Jersey Basic",
            "index_name": "Ladieswear",
            "detail_desc": "Jersey top\nwith narrow shoulder straps.",  # a cell over two lines
        }
        shirt = dict.fromkeys(columns, "") | {
            "article_id": "0110065001",
            "prod_name": 'OP T-shirt "Idro"',
            "product_type_name": "Bra",
            "garment_group_name": "Under-, Nightwear",
            "product_group_name": "Unknown",
        }
        pl.DataFrame([strap, shirt]).write_csv(folder / "articles.csv")
        with (folder / "articles.csv").open("a") as file:
            file.write("0110065002,ragged\n")
        (folder / "customers.csv").write_text(
            "customer_id,FN,Active,age\nab12,,,49\ncd34,1.0,1.0,25\nnever bought,,,\n"
        )
        (folder / "transactions_train.csv").write_text(
            "t_dat,customer_id,article_id,price,sales_channel_id\n2018-09-22,ab12,0108775015,0.05,2\n"
            "2018-09-20,ab12,108775015,0.05,1\n2018-09-21,cd34,0110065001,0.03,2\n"  # one has lost its zero
            "2018-09-21,cd34,0999999999,0.03,2\n21 Sept,cd34,0108775015,0.03,2\n"
        )
        (folder / "images" / "010").mkdir(parents=True)
        (folder / "images" / "010" / "0108775015.jpg").write_bytes(picture())
        return folder

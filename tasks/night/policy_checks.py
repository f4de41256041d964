"""Whether exported lists keep to the policy, by queries of the exported tables; and what its rules cost."""

from collections.abc import Iterator, Sequence

import polars as pl

from storage import parquet
from storage.manifests import Outcome
from storage.roots import Root
from storage.shards import Shards
from tasks.evaluation.policy_price import ALL_RULES, Price
from tasks.systems import policy as rules
from tasks.systems.lists import Policy


def check_policy(
    policy: Policy | None, lists: pl.LazyFrame, similar: pl.LazyFrame, prices: Sequence[Price], root: Root
) -> Iterator[Outcome]:
    """One outcome for each active rule: how many exported rows break it, and its price.

    Args:
        lists: rows of RECOMMENDATIONS.
        similar: rows of SIMILAR_IMAGES; what is blocked for everybody is not in them either.
    """
    if policy is None:
        return
    price_of = {price.rule: price for price in prices}
    for rule, broken in _broken(policy, lists, similar, root):
        count = broken.select(pl.len()).collect().item()
        holds = "no list breaks it" if count == 0 else f"{count} rows break it"
        cost = f"; {price_of[rule].line}" if rule in price_of else ""
        yield Outcome(f"policy: {rule}", count == 0, False, holds + cost, float(count))
    if policy.config.diversity and rules.DIVERSITY in price_of:
        yield Outcome(f"policy: {rules.DIVERSITY}", True, True, price_of[rules.DIVERSITY].line)
    if ALL_RULES in price_of:
        yield Outcome(f"policy: {ALL_RULES}", True, True, price_of[ALL_RULES].line)


def _broken(
    policy: Policy, lists: pl.LazyFrame, similar: pl.LazyFrame, root: Root
) -> Iterator[tuple[str, pl.LazyFrame]]:
    """Each active rule with the rows that break it."""
    owned = parquet.scan(policy.images, root).select("image_id", "owner_id").drop_nulls()
    listed = lists.select("user_id", "image_id")
    by_owner = listed.join(owned, on="image_id")
    shown = pl.concat(
        [listed.select("image_id"), *(similar.select(image_id=name) for name in ("image_id", "similar_image_id"))]
    )
    if not policy.config.own_uploads:
        yield rules.OWN_UPLOADS, by_owner.filter(pl.col("user_id") == pl.col("owner_id"))
    if policy.user_blocks.rows:
        blocks = parquet.scan(policy.user_blocks, root).rename({"blocked_id": "owner_id"})
        yield rules.USER_BLOCKS, by_owner.join(blocks, on=["user_id", "owner_id"], how="semi")
    if policy.hides and policy.hides.rows:
        hides = parquet.scan(policy.hides, root)
        yield rules.HIDES, listed.join(hides, on=["user_id", "image_id"], how="semi")
    if policy.image_tags:
        tags = parquet.scan(policy.image_tags, root)
        if policy.user_mutes.rows:
            mutes = parquet.scan(policy.user_mutes, root)
            muted = tags.join(mutes.select("tag").unique(), on="tag", how="semi")
            yield rules.USER_MUTES, listed.join(muted, on="image_id").join(mutes, on=["user_id", "tag"], how="semi")
        if policy.config.muted_tags:
            muted = tags.filter(pl.col("tag").is_in(policy.config.muted_tags))
            yield rules.MUTED_TAGS, shown.join(muted, on="image_id", how="semi")
    if policy.pixels:
        seen = pl.LazyFrame({"image_id": Shards.open(policy.pixels, root).ids.astype(str)})
        yield rules.NO_PICTURE, shown.join(seen, on="image_id", how="anti")
    if policy.blocked_images.rows:
        blocked = parquet.scan(policy.blocked_images, root)
        yield rules.BLOCKED_IMAGES, shown.join(blocked, on="image_id", how="semi")
    if policy.blocked_owners.rows:
        blocked = parquet.scan(policy.blocked_owners, root)
        theirs = owned.join(blocked, left_on="owner_id", right_on="user_id", how="semi")
        yield rules.BLOCKED_OWNERS, shown.join(theirs, on="image_id", how="semi")
    if limit := policy.config.max_of_owner:
        yield rules.MAX_OF_OWNER, by_owner.group_by("user_id", "owner_id").len().filter(pl.col("len") > limit)

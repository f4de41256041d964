"""Everybody's recommendations and every image's similar images, as one record."""

from prefect import unmapped

from storage.refs import Ref
from storage.roots import Root
from tasks.data.tastes import Profiles
from tasks.runtime.caching import unsearched
from tasks.runtime.code_version import code_versions
from tasks.systems.appearance import describe_looks
from tasks.systems.lists import ListRequest, Lists, RecommendConfig
from tasks.systems.model import Model
from tasks.systems.recommend import recommend
from tasks.systems.similar import find_similar


def request_lists(model: Model, favorites: Ref, profiles: Profiles, config: RecommendConfig) -> ListRequest:
    """Whose lists these settings want."""
    wants_filter = config.candidates == "interests" or (config.candidates == "auto" and model.system == "cdl")
    # Without tags nobody has a tag of interest, so all images are candidates.
    is_filtered = wants_filter and profiles.of == "tags"
    wanted = (profiles.interests, profiles.image_labels) if is_filtered else (None, None)
    return ListRequest(model, favorites, *wanted)


def make_lists(asked: ListRequest, config: RecommendConfig, root: Root, looks: Ref | None, last: Lists | None) -> Lists:
    """Everybody's recommendations, each block of users a cached task run of its own, and every image's similar ones.

    Args:
        looks: of a model that is kept.
        last: the previous run's lists from the same model; those by the same code and settings are brought up to date.
    """
    code = code_versions(stage.fn.__module__ for stage in (recommend, find_similar))
    last = last if last and (last.config, last.code) == (config, code) else None
    if not asked.model.fitted:
        looks = looks or describe_looks(asked.model, root)
    blocks = list(range(-(-asked.model.users.rows // config.block_users)))
    made = recommend.map(blocks, *map(unmapped, (asked, config, root, unsearched(last))))
    similar = find_similar(asked.model, looks, config, root, unsearched(last))
    return Lists(asked, config, looks, made, similar, code)

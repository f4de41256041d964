"""All lists of a run: the recommendations of each user, and the similar images of each image."""

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
    """What the lists depend on under these settings."""
    filters_by_interest = config.candidates == "interests" or (config.candidates == "auto" and model.system == "cdl")
    # Without tags nobody has a tag of interest, so all images are candidates.
    is_filtered = filters_by_interest and profiles.of == "tags"
    filter_ = (profiles.interests, profiles.image_labels) if is_filtered else (None, None)
    return ListRequest(model, favorites, *filter_)


def make_lists(
    request: ListRequest, config: RecommendConfig, root: Root, appearance: Ref | None, last: Lists | None
) -> Lists:
    """All lists; each block of users is a cached task run of its own.

    Args:
        appearance: the dimensions that describe an image's appearance, of a kept model; None: they are computed.
        last: the previous run's lists from the same model; they are updated where code and settings are the same.
    """
    code = code_versions(stage.fn.__module__ for stage in (recommend, find_similar))
    last = last if last and (last.config, last.code) == (config, code) else None
    if not request.model.fitted:
        appearance = appearance or describe_looks(request.model, root)
    blocks = list(range(-(-request.model.users.rows // config.block_users)))
    recommendations = recommend.map(blocks, *map(unmapped, (request, config, root, unsearched(last))))
    similar = find_similar(request.model, appearance, config, root, unsearched(last))
    return Lists(request, config, appearance, recommendations, similar, code)

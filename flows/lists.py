"""All lists of a run: each user's recommendations, the reasons for the first ones, and each image's similar images."""

from models.systems import SYSTEMS
from storage.refs import Ref
from storage.roots import Root
from storage.tables.community import BLOCKED_IMAGES, BLOCKED_OWNERS, HIDES, IMAGE_TAGS, IMAGES, USER_BLOCKS, USER_MUTES
from tasks.data.tastes import Profiles
from tasks.night.records import Keep, Learned, NightStart
from tasks.runtime.caching import unmapped, unsearched
from tasks.runtime.code_version import code_versions
from tasks.settings.lists import PolicyConfig, RecommendConfig
from tasks.systems.appearance import describe_looks
from tasks.systems.explain import Evidence, explain
from tasks.systems.inputs import index_images
from tasks.systems.lists import ListRequest, Lists, Policy
from tasks.systems.model import Model
from tasks.systems.recall import Recall, measure_recall
from tasks.systems.recommend import recommend
from tasks.systems.similar import find_similar


def policy_of(table: dict[str, Ref], pixels: list[Ref], config: PolicyConfig) -> Policy:
    """The rules of the lists, with the tables of the community and the shards of its pictures that they read."""
    mutes = table[USER_MUTES.name]
    return Policy(
        config,
        images=table[IMAGES.name],
        image_tags=table[IMAGE_TAGS.name] if config.muted_tags or mutes.rows else None,
        blocked_images=table[BLOCKED_IMAGES.name],
        blocked_owners=table[BLOCKED_OWNERS.name],
        user_blocks=table[USER_BLOCKS.name],
        user_mutes=mutes,
        hides=table[HIDES.name],
        pixels=None if config.without_picture else pixels,
    )


def request_lists(
    model: Model, favorites: Ref, profiles: Profiles, config: RecommendConfig, policy: Policy
) -> ListRequest:
    """What the lists depend on under these settings."""
    filters_by_interest = config.candidates == "interests" or (config.candidates == "auto" and model.system == "cdl")
    # Without tags nobody has a tag of interest, so all images are candidates.
    is_filtered = filters_by_interest and profiles.of == "tags"
    interests, labels = (profiles.interests, profiles.image_labels) if is_filtered else (None, None)
    return ListRequest(model, favorites, interests, labels, policy)


def make_lists(
    request: ListRequest,
    config: RecommendConfig,
    pixels: list[Ref],
    root: Root,
    appearance: Ref | None,
    last: Lists | None,
) -> Lists:
    """All lists; each block of users is a cached task run of its own.

    Args:
        pixels: shards of the usable pictures.
        appearance: the dimensions that describe an image's appearance, of a kept model; None: they are computed.
        last: the previous run's lists from the same model; they are updated where code, settings and rules are the
            same, whatever the tables say that the rules read.
    """
    code = code_versions(stage.fn.__module__ for stage in (recommend, find_similar))
    if config.recall < 1:  # an index finds other lists when one image is new, so an update would give other bytes
        last = None
    last = last if last and (last.config, last.code) == (config, code) and _same_rules(last.request, request) else None
    if not request.model.fitted:
        appearance = appearance or describe_looks(request.model, root)
    index = index_images(request, config, root) if is_indexed(request, config) else None
    blocks = list(range(-(-request.model.users.rows // config.block_users)))
    recommendations = recommend.map(blocks, *map(unmapped, (request, config, root, unsearched(last), index)))
    similar = find_similar(request.model, appearance, config, request.policy, pixels, root, unsearched(last))
    return Lists(request, config, appearance, recommendations, similar, code)


def is_indexed(request: ListRequest, config: RecommendConfig) -> bool:
    """Whether an index finds the lists; those of a model without vectors are exact."""
    return config.recall < 1 and not request.model.fitted


def recall_of(lists: Lists, pixels: list[Ref], root: Root) -> list[Recall]:
    """How many of the images of exact lists those of an index hold; nothing where lists are exact.

    Args:
        pixels: shards of the usable pictures.
    """
    return measure_recall(lists, pixels, root) if is_indexed(lists.request, lists.config) else []


def explain_lists(
    lists: Lists, final: Learned, start: NightStart, table: dict[str, Ref], config: RecommendConfig, root: Root
) -> list[Ref]:
    """The reasons for the first places, a file for each block of users; none where the system cannot say."""
    learned = start.base.published if isinstance(start, Keep) and not final.fitted else final
    is_a_sum = learned.fitted and SYSTEMS[learned.fitted.system].explains
    if not learned.fitted or not is_a_sum or final.model.fitted or not config.num_explained:
        return []
    evidence = Evidence.of(learned.fitted, learned.model.users, table)
    blocks = [block.exported for block in lists.recommendations]
    found = explain.map(blocks, *map(unmapped, (final.model, evidence, config.num_explained, root)))
    return found if any(ref.rows for ref in found) else []


def _same_rules(one: ListRequest, other: ListRequest) -> bool:
    return one.policy is not None and other.policy is not None and one.policy.config == other.policy.config

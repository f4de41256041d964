"""The JSON API of the gallery: lists, likes, search, newcomers, runs and clusters, described by OpenAPI."""

from typing import Annotated, Any
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Path, Query
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from tasks.gallery.runs import Listed, Run, Runs

MAX_BAG, MAX_K, MAX_FOUND = 100, 1000, 100
ID = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
K = Annotated[int, Query(ge=1, le=MAX_K, description="How many at most.")]
RunId = Annotated[
    str | None, Query(alias="run", max_length=200, description="A run's id; by default the one that is shown.")
]


class Problem(BaseModel):
    """What was wrong with a request."""

    error: str
    nearest: list[str] = Field(description="Ids that are like an unknown one.")


class ListedImage(BaseModel):
    """An image of a list."""

    rank: int = Field(description="1 is best.")
    image_id: str
    score: float
    title: str | None


class ListAnswer(BaseModel):
    """A list of images."""

    run_id: str
    images: list[ListedImage]


class UserAnswer(BaseModel):
    """What a run knows of a user."""

    run_id: str
    user_id: str
    name: str | None
    liked: list[str] = Field(description="The favorites that the run ingested, at most as many as asked for.")
    num_liked: int
    num_recommended: int


class ImageAnswer(BaseModel):
    """What a run knows of an image."""

    run_id: str
    image_id: str
    title: str | None
    tags: list[str]
    num_liked_by: int
    num_recommended_to: int


class FoundAnswer(BaseModel):
    """Users and images that a search found."""

    run_id: str
    users: list[str]
    images: list[str]


class RunAnswer(BaseModel):
    """A published run."""

    run_id: str
    generated_at: str
    system: str
    is_current: bool
    rows: dict[str, int]


class RunsAnswer(BaseModel):
    """The published runs, the newest first."""

    current: str | None
    runs: list[RunAnswer]


class ClusterAnswer(BaseModel):
    """A semantic cluster of tags."""

    cluster: int
    size: int
    tokens: list[str]
    examples: list[str] = Field(description="Images that carry most of its tokens.")


class ClustersAnswer(BaseModel):
    """The largest clusters."""

    run_id: str
    clusters: list[ClusterAnswer]


class Bag(BaseModel):
    """The favorites of somebody whom the run does not know."""

    model_config = ConfigDict(extra="forbid")

    image_ids: Annotated[list[ID], Field(min_length=1, max_length=MAX_BAG)]
    k: Annotated[int, Field(ge=1, le=MAX_K)] = 20


def router(runs: Runs) -> APIRouter:
    """The routes below /api. A path's id is one segment, percent-encoded: a slash is %2F."""
    problems: dict[int | str, dict[str, Any]] = {
        code: {"model": Problem, "description": text}
        for code, text in {
            404: "No such user, image or run",
            409: "The run cannot answer this",
            422: "A malformed request",
        }.items()
    }
    api = APIRouter(prefix="/api", responses=problems)

    async def shown(run: RunId = None) -> Run:
        # A list is looked up in microseconds; a thread, which a run that is read needs, would take milliseconds.
        found = runs.at_hand(run)
        return await run_in_threadpool(runs.warm, run) if found is None else found

    a_run, a_user, an_image = Depends(shown), Depends(_user_id), Depends(_image_id)

    @api.get("/users/{user_id}")
    async def user(user_id: str = a_user, run: Run = a_run, k: K = 100) -> UserAnswer:
        """What a user likes, where the run knows it."""
        row = run.user(user_id)
        return UserAnswer(
            run_id=run.run_id,
            user_id=user_id,
            name=run.names[row],
            liked=run.image_ids[run.liked.of(row, k)[0]].tolist(),
            num_liked=int(run.liked.lengths[row]),
            num_recommended=int(run.recommendations.lengths[row]),
        )

    @api.get("/users/{user_id}/recommendations")
    async def recommendations(user_id: str = a_user, run: Run = a_run, k: K = 20) -> ListAnswer:
        """A user's exported recommendations."""
        return _list(run, run.listed(run.recommendations, run.user(user_id), k))

    @api.get("/images/{image_id}")
    def image(image_id: str = an_image, run: Run = a_run) -> ImageAnswer:
        """An image's title and tags, and how many like it and get it."""
        row = run.image(image_id)
        return ImageAnswer(
            run_id=run.run_id,
            image_id=image_id,
            title=run.titles[row],
            tags=run.tags_of(row, 100),
            num_liked_by=int(run.liked_by.lengths[row]),
            num_recommended_to=int(run.recommended_to.lengths[row]),
        )

    @api.get("/images/{image_id}/similar")
    async def similar(image_id: str = an_image, run: Run = a_run, k: K = 20) -> ListAnswer:
        """The exported images that are like an image."""
        return _list(run, run.listed(run.similar, run.image(image_id), k))

    @api.get("/search")
    def search(
        q: Annotated[str, Query(max_length=200, description="The beginning or a part of an id, a title or a name.")],
        run: Run = a_run,
        k: Annotated[int, Query(ge=1, le=MAX_FOUND)] = 20,
    ) -> FoundAnswer:
        """Users and images by id, title and name; where none has these letters, those with near ids."""
        users, images = run.find(q, k)
        return FoundAnswer(run_id=run.run_id, users=users, images=images)

    @api.post("/recommendations")
    def newcomer(bag: Bag, run: Run = a_run) -> ListAnswer:
        """What somebody with these favorites would get whom the run does not know."""
        return _list(run, run.for_newcomer(bag.image_ids, bag.k))

    @api.get("/runs")
    def published() -> RunsAnswer:
        """The published runs."""
        current = runs.current_id
        return RunsAnswer(
            current=current or None,
            runs=[
                RunAnswer(
                    run_id=found.run_id,
                    generated_at=found.generated_at,
                    system=found.system,
                    is_current=found.run_id == current,
                    rows=found.rows,
                )
                for found in runs.manifests()
            ],
        )

    @api.get("/clusters")
    def clusters(run: Run = a_run, k: Annotated[int, Query(ge=1, le=MAX_FOUND)] = 40) -> ClustersAnswer:
        """The largest clusters, with the images that carry most of their tokens."""
        return ClustersAnswer(run_id=run.run_id, clusters=[ClusterAnswer(**vars(item)) for item in run.clusters[:k]])

    return api


def _list(run: Run, images: list[Listed]) -> ListAnswer:
    shown = [ListedImage(**vars(item), title=run.titles[run.image_row[item.image_id]]) for item in images]
    return ListAnswer(run_id=run.run_id, images=shown)


Segment = Annotated[str, Path(min_length=1, description="Percent-encoded, as one segment: a slash is %2F.")]


async def _user_id(user_id: Segment) -> str:
    return unquote(user_id)


async def _image_id(image_id: Segment) -> str:
    return unquote(image_id)

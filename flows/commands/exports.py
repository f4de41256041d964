"""Read what is published."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import JsonOption, RootOption
from flows.printing.exports import print_difference, print_history, print_list, print_run, print_runs


def recommend(
    root: RootOption,
    user: Annotated[str, typer.Option(help="The user's id.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """A user's recommendations in the current export."""
    print_list(root, "recommendations", "user_id", user, "image_id", k, as_json)


def similar(
    root: RootOption,
    image: Annotated[str, typer.Option(help="The image's id.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """The images that are similar to an image, in the current export."""
    print_list(root, "similar_images", "image_id", image, "similar_image_id", k, as_json)


def serve(
    root: RootOption = "tastegraph-data",
    run: Annotated[str | None, typer.Option(help="A run's id; by default the current one, whichever that is.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Where pictures lie, instead of the source directory that the run names.")
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on; the default is reached from here alone.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")] = 8020,
    export: Annotated[
        Path | None, typer.Option(help="Serve nothing, but write the gallery to this folder, to be opened as files.")
    ] = None,
    max_users: Annotated[int, typer.Option(min=1, help="With --export: how many users have a page.")] = 50,
) -> None:
    """A gallery of the published runs in the browser, and a JSON API; the root is only read. Ends with Ctrl-C."""
    from flows.serve import export as export_
    from flows.serve import serve as serve_

    if export:
        export_(root, run, source, export, max_users)
    else:
        serve_(root, run, source, host, port)


def show(
    root: RootOption,
    history: Annotated[
        bool, typer.Option("--history", help="Instead: which run became current when, by whom, and why.")
    ] = False,
    run: Annotated[str | None, typer.Option(help="Only this run, and what each of its stages took.")] = None,
    as_json: JsonOption = False,
) -> None:
    """The current and earlier runs: when, from what, metrics, gate, sizes."""
    if history and run:
        raise typer.BadParameter("choose one of --history and --run")
    from storage.roots import Root

    if run:
        print_run(run, Root(root), as_json)
        return
    show_ = print_history if history else print_runs
    show_(root, Root(root), as_json)


def diff(
    root: RootOption,
    first: Annotated[str, typer.Argument(metavar="RUN", help="A run's id, as `tastegraph show` lists it.")],
    second: Annotated[str, typer.Argument(metavar="RUN", help="The run to compare it with.")],
    k: Annotated[int, typer.Option("-k", min=0, help="How many users and images are named.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """How the lists of two runs differ: whose changed, by how many images, and what entered and left most."""
    from storage import snapshots
    from storage.roots import Root
    from tasks.upkeep.difference import difference

    output = Root(root)
    runs = (snapshots.manifest(output, first), snapshots.manifest(output, second))
    print_difference(runs, difference(*runs, output, k), as_json)

"""Keep a machine and a root in order."""

from typing import Annotated

import typer

from flows.commands.options import FAILED, JsonOption, QuickOption, RootOption, WhyOption
from flows.printing.common import print_json
from flows.printing.upkeep import print_finding, print_moved
from flows.terminal import say


def doctor(root: RootOption = "tastegraph-data", as_json: JsonOption = False) -> None:
    """Whether this machine has what a night needs: torch, GPU, codecs, the root, Prefect; exit 1 where it has not."""
    from flows.doctor import examine

    findings = []
    for found in examine(root):
        findings.append(found)
        if not as_json:
            print_finding(found)
    if as_json:
        print_json([vars(found) for found in findings])
    raise typer.Exit(FAILED if any(found.verdict == "fault" for found in findings) else 0)


def rollback(
    root: RootOption,
    to: Annotated[str | None, typer.Option(help="A run's id; by default the last one that may be current.")] = None,
    why: WhyOption = "",
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make an earlier run current, at once and without writing a table; a night does not undo it by itself."""
    from storage.roots import Root
    from tasks.upkeep.rollback import roll_back

    print_moved(roll_back(Root(root), to, why, read_all=not quick), root, as_json)


def publish(
    root: RootOption,
    run: Annotated[str, typer.Option(help="The run's id, as `tastegraph show` lists it.")],
    force: Annotated[bool, typer.Option("--force", help="Also a run that the gate held; needs --why.")] = False,
    why: WhyOption = "",
    quick: QuickOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a published run current, earlier or later than the current one."""
    if force and not why.strip():
        raise typer.BadParameter("--force needs --why: the history says why the gate was overruled")
    from storage.roots import Root
    from tasks.upkeep.rollback import publish_run

    print_moved(publish_run(Root(root), run, why, force=force, read_all=not quick), root, as_json)


def forget(
    root: RootOption,
    user: Annotated[list[str] | None, typer.Option(help="A user's id; may be repeated.")] = None,
    image: Annotated[list[str] | None, typer.Option(help="An image's id; may be repeated.")] = None,
    source: Annotated[str | None, typer.Option(help="A source: all ids in its table tombstones, known or not.")] = None,
    even_if_unknown: Annotated[
        bool, typer.Option("--even-if-unknown", help="Also ids that no file below the root names yet.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Forget users and images for good: tombstones, a current export without them, and no file that names them."""
    if not user and not image and not source:
        raise typer.BadParameter("name at least one --user, --image or --source")
    from storage.roots import Root
    from storage.sources import directory
    from tasks.upkeep.forget import forget as forget_in

    ids = {"user": frozenset(user or ()), "image": frozenset(image or ())}
    of_source = directory.tombstones_of(Root(source)) if source else {}
    forgotten = forget_in(ids, Root(root), from_source=of_source, even_if_unknown=even_if_unknown)
    if as_json:
        print_json({key: getattr(forgotten, key) for key in forgotten.__dataclass_fields__})
        raise typer.Exit(FAILED if forgotten.unreached else 0)
    say(f"Forgot {forgotten.users} users and {forgotten.images} images.")
    if forgotten.run_id:
        say(f"Run {forgotten.run_id} is current{', published without them' if forgotten.is_new else ''}.")
    say(f"Deleted {forgotten.files:,} files, {forgotten.bytes:,} bytes; the next run computes again what it needs.")
    for file in forgotten.unreached:
        say(f"Still named in {file}: outside the root, where nothing is deleted. Delete the file, and the link to it.")
    raise typer.Exit(FAILED if forgotten.unreached else 0)


def verify(
    root: RootOption,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what can be mended.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare all that is published or cached with its sha256; exit 1 where something is damaged or lost."""
    from storage.roots import Root
    from tasks.upkeep.verify import verify as verify_in

    found = verify_in(Root(root), repair=repair)
    if not found.files and not found.faults:
        raise ValueError(f"{root}: nothing is published or cached below this root, so there is nothing to compare")
    if as_json:
        faults = [vars(fault) for fault in found.faults]
        counts = {"files": found.files, "bytes": found.bytes, "lost": found.lost}
        print_json({**counts, "is_whole": found.is_whole, "faults": faults})
    else:
        for fault in found.faults:
            say(str(fault))
        if found.lost:
            say(f"{found.lost:,} cached files are gone; the next run that needs one computes it again.")
        wrong = sum(not fault.is_mended for fault in found.faults)
        end = "all whole" if found.is_whole else f"{wrong:,} files are wrong"
        say(f"Compared {found.files:,} files, {found.bytes:,} bytes: {end}.")
    raise typer.Exit(0 if found.is_whole else FAILED)


def gc(
    root: RootOption,
    keep: Annotated[int, typer.Option(min=1, help="How many published runs stay, beside the current one.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be deleted.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete old runs, and all files that no published run and no unfinished run refers to."""
    from storage.roots import Root
    from tasks.upkeep.retention import collect

    collected = collect(Root(root), keep, dry_run=dry_run)
    if as_json:
        paths = [entry.path for entry in collected.deleted]
        counts = {"files": len(paths), "bytes": collected.bytes, "dry_run": dry_run}
        kept = {"kept_runs": collected.kept_runs, "waiting_for": collected.waiting_for}
        print_json({**counts, **kept, "unreached": collected.unreached, "deleted": paths})
        return
    for folder, (files, size) in collected.by_folder.items():
        say(f"  {files:>8,} files  {size:>16,} bytes  {folder}/")
    verb = "Would delete" if dry_run else "Deleted"
    num_files, num_runs = len(collected.deleted), len(collected.kept_runs)
    say(f"{verb} {num_files:,} files, {collected.bytes:,} bytes; kept {num_runs} published runs.")
    for holder in collected.waiting_for:
        say(f"Only old runs were deleted, because {holder} is running; run this again later.")
    for link, count in collected.unreached.items():
        say(f"{count:,} more files lie outside the root, where nothing is deleted: {link}")

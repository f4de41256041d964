"""Faults on a local disk: kills, damaged files, full and read-only disks, other hosts, clocks, memory."""

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path

from storage import leases, snapshots
from storage.roots import Root
from tests.faults.forked import Ended
from tests.faults.trials import OTHER_LISTS, Bench, Count
from tests.flows.processes import BIN, environment, processes_of
from tests.storage.damage import cut_off, empty, flip

CLOCK = Path(__file__).with_name("clock.c")
LARGE = 2**30  # bytes of a disk that does not fill
REAL_S = 300.0  # the most that a command of its own may take


class ImpossibleError(RuntimeError):
    """The scenario cannot be played on this machine; the message says why."""


def kills(bench: Bench, system: str, times: int, rng: random.Random) -> Count:
    """SIGKILL of the command, or of its process group, at random instants of a first night that is started again."""
    count = bench.count(f"SIGKILL of leader or group, local disk, {system}")
    bench.kill_nights(lambda _number: bench.fresh("killed"), system, count, times, rng)
    return count


def kills_of_commands(bench: Bench, system: str, times: int, rng: random.Random) -> Count:
    """SIGKILL of a command that a user typed, or of its process group, with a Prefect server of its own."""
    count = bench.count(f"SIGKILL of leader or group, with its own server, {system}")
    bench.prepare(system)
    for trial in range(count.tried, times):
        root, home, is_group = bench.fresh("command"), bench.fresh("command-prefect"), trial % 2 == 1
        instant = rng.uniform(0, 20)
        killed = command(bench, root, home, system, meanwhile=partial(_kill_later, instant, is_group))
        end = time.monotonic() + 5
        while (left := processes_of(home)) and time.monotonic() < end:
            time.sleep(0.1)
        what = f"{trial}: {'group' if is_group else 'leader'} after {instant:.1f} s"
        if left:
            count.note("lost", f"{what}: left {left}")
            continue
        again = command(bench, root, home, system)
        if again.code or processes_of(home):
            count.note("lost", f"{what}: the night afterwards: {again.code} {again.log[-1500:]} {processes_of(home)}")
            continue
        count.note(*_at(what, bench.judge(root, system, killed)))
    return count


def damages(bench: Bench, system: str, times: int, rng: random.Random) -> Count:
    """A file of a finished root flipped, cut off, emptied or deleted; then a plain night, and one with other lists."""
    count = bench.count(f"damaged or deleted file, local disk, {system}")
    finished = bench.finished(system)
    bench.prepare(system, *OTHER_LISTS)
    files = sorted(str(file.relative_to(finished)) for file in finished.rglob("*") if file.is_file())
    damage: dict[str, Callable[[Root, str], None]] = {"flipped": flip, "cut off": cut_off, "emptied": empty}
    damage["deleted"] = Root.delete
    chosen = [(file, kind) for kind in damage for file in files]
    rng.shuffle(chosen)
    for file, kind in chosen[count.tried : times]:
        root = bench.copy(finished, "damaged")
        damage[kind](Root(str(root)), file)
        count.note(*_at(f"{file} {kind}", _mended_or_named(bench, root, system, file)))
    return count


def _mended_or_named(bench: Bench, root: Path, system: str, file: str) -> tuple[str, str]:
    """What became of a damaged file: the nights mend it, or `verify --repair` does, or somebody names it."""
    is_named, said = False, []
    for step in ("night", "verify", "night again"):
        if step == "verify":
            if not bench.differing(root, system):
                continue
            ended = bench.forks.run("verify", "--root", root, "--repair")
        else:
            ended = bench.night(root, system)
        if "Traceback" in ended.log:
            return "lost", f"{step}: {ended.log[-1500:]}"
        is_named |= file in ended.log or Path(file).name in ended.log
        said.append(f"{step}: {ended.code} {ended.log[-500:]}")
        if step != "verify" and ended.code == 0 and not bench.differing(root, system):
            break
    else:
        return ("named", "") if is_named else ("lost", f"the run stays damaged; {' / '.join(said)}")
    other = bench.night(root, system, *OTHER_LISTS)
    if other.code == 0:
        wrong = bench.differing(root, system, *OTHER_LISTS)
        return ("lost", f"published: {wrong} {other.log[-1500:]}") if wrong else ("survived", "")
    return ("named", "") if other.is_named else ("lost", f"other lists: {other.code} {other.log[-1500:]}")


def full_disks(bench: Bench, system: str, times: int, rng: random.Random) -> Count:
    """A disk that fills at some stage of a first night."""
    count = bench.count(f"disk full, {system}")
    bench.prepare(system)
    with small_disk(bench.folder / "disk", LARGE) as disk:
        used, ended = [0], threading.Event()

        def look(_pid: int) -> None:
            while not ended.wait(0.02):
                found = os.statvfs(disk)
                used.append((found.f_blocks - found.f_bfree) * found.f_frsize)

        bench.night(disk / "root", system, meanwhile=look)
        ended.set()
        needed = max(used)
    for trial in range(count.tried, times):
        size = int(needed * (trial + rng.random()) / times) + 4096
        with small_disk(bench.folder / "disk", size) as disk:
            filled = bench.night(disk / "root", system)
            _mount("-o", f"remount,size={LARGE}", disk)
            count.note(*_at(f"{size:,} of {needed:,} bytes", bench.judge(disk / "root", system, filled)))
    return count


def full_disks_with_prefect(bench: Bench, system: str, times: int, rng: random.Random) -> Count:
    """A disk that fills, with the home of Prefect on it too: room for its server's start, and little more."""
    count = bench.count(f"disk full, Prefect's home on it, {system}")
    bench.prepare(system)
    for trial in range(count.tried, times):
        room = rng.randrange(100_000, 6_000_000)
        with small_disk(bench.folder / "disk", 256 * 2**20) as disk:
            (disk / "filler").write_bytes(b"")

            def fill(_pid: int, disk: Path = disk, room: int = room) -> None:
                while not (disk / "root").exists():  # its start is checked for room
                    time.sleep(0.01)
                free = os.statvfs(disk).f_bavail * 4096
                with suppress(OSError), (disk / "filler").open("r+b") as filler:
                    os.posix_fallocate(filler.fileno(), 0, free - room)

            filled = command(bench, disk / "root", disk / "prefect", system, meanwhile=lambda p, f=fill: f(p.pid))
            (disk / "filler").unlink()
            again = command(bench, disk / "root", disk / "prefect", system)
            if again.code:
                count.note("lost", f"{trial}: room {room:,}: afterwards {again.code} {again.log[-1500:]}")
            else:
                count.note(*_at(f"{trial}: room {room:,}", bench.judge(disk / "root", system, filled)))
    return count


def read_only_folders(bench: Bench, system: str, times: int, _rng: random.Random) -> Count:
    """A folder of a finished root that lost its right to be written, and a night that has new lists to write."""
    count, finished = bench.count(f"read-only folder, {system}"), bench.finished(system)
    bench.prepare(system, *OTHER_LISTS)
    folders = [".", *sorted(entry.name for entry in finished.iterdir() if entry.is_dir())]
    for folder in folders[count.tried : times]:
        root = bench.copy(finished, "read-only")
        _mount("--bind", root / folder, root / folder)
        try:
            _mount("-o", "remount,ro,bind", root / folder)
            refused = bench.night(root, system, *OTHER_LISTS)
        finally:
            subprocess.run(["umount", root / folder], check=True)
        count.note(*_at(folder, bench.judge(root, system, refused, *OTHER_LISTS)))
    return count


def two_hosts(bench: Bench, system: str, times: int, rng: random.Random) -> Count:
    """Two nights at once on one root, on hosts of different names and with process ids of their own."""
    count = bench.count(f"two nights from two hosts, {system}")
    bench.prepare(system)
    for trial in range(count.tried, times):
        root, ended = bench.fresh("two-hosts"), list[Ended]()
        delay = rng.uniform(0, 2)

        def on_host(name: str, wait: float, root: Path = root, ended: list[Ended] = ended) -> None:
            time.sleep(wait)
            ended.append(command(bench, root, bench.folder / f"prefect-{name}", system, before=on_host(name)))

        both = [threading.Thread(target=on_host, args=at) for at in (("one", 0.0), ("two", delay))]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        losers = [night for night in ended if night.code != 0]
        what = f"{trial}: the second {delay:.2f} s later"
        if losers:  # the later one waits for the first
            count.note("lost", f"{what}: did not publish: {losers}")
        else:
            count.note(*_at(what, bench.judge(root, system, ended[0])))
    return count


def clocks(bench: Bench, system: str, times: int, rng: random.Random) -> Count:
    """The clock jumps by hours in the middle of a night; a night goes over a change of summer time. Then another night.

    Run ids sort as the nights were, another host sees the night alive, and `gc` takes nothing that is needed.
    """
    clock = _clock(bench.folder)
    count = bench.count(f"clock jumps, changes of summer time, {system}")
    bench.prepare(system, *OTHER_LISTS)
    bench.prepare(system)
    changes = ("2026-10-25T00:59:56+00:00", "2027-03-28T00:59:56+00:00")
    for trial in range(count.tried, times):
        root, offset, seen = bench.fresh("clock"), bench.folder / "clock", list[bool]()
        jump = 0 if trial % 2 else rng.choice([-7200, -900, 900, 7200, 86400])
        start = datetime.fromisoformat(changes[trial // 2 % 2]).timestamp() - time.time() - 6 if not jump else 0
        offset.write_text(f"{start:.0f}")
        env = {"LD_PRELOAD": str(clock), "CLOCK_OFFSET": str(offset)} | ({} if jump else {"TZ": "Europe/Berlin"})
        if trial % 4 < 2:  # else with a server of its own, whose clock jumps too
            env["PREFECT_API_URL"] = bench.env["PREFECT_API_URL"]

        def leap(
            night: subprocess.Popen[str],
            root: Path = root,
            jump: int = jump,
            offset: Path = offset,
            seen: list[bool] = seen,
        ) -> None:
            while not (root / "tables").exists() and night.poll() is None:
                time.sleep(0.01)
            if jump:
                offset.write_text(f"{jump}")
            time.sleep(0.5)
            with leases.shared(Root(str(root)), "look"):
                seen.append("nightly" in {lease.kind for lease in leases.held_by_others(Root(str(root)))})

        night = command(
            bench, root, bench.fresh("clock-prefect"), system, before=on_host("elsewhere"), env=env, meanwhile=leap
        )
        what = f"{trial}: {f'by {jump} s' if jump else f'over {changes[trial // 2 % 2]} in Berlin'}"
        outcome, said = bench.judge(root, system, night)
        wrong = _after(bench, root, system) if outcome != "lost" else ""
        if seen != [True]:
            wrong += " another host took the running night for dead"
        count.note("lost" if wrong else outcome, f"{what}: {said}{wrong}")
    return count


def _clock(folder: Path) -> Path:
    """The library that sets the wall clock of one process."""
    library = folder / "clock.so"
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, CLOCK, "-ldl"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ImpossibleError(f"no C compiler makes tests/faults/clock.c: {error}") from error
    return library


def _after(bench: Bench, root: Path, system: str) -> str:
    """What is wrong with another night and with `gc` after the first."""
    other = bench.night(root, system, *OTHER_LISTS)
    if other.code or bench.differing(root, system, *OTHER_LISTS):
        return f"the other night: {other.code} {other.log[-1500:]}"
    ids = [change.run_id for change in snapshots.changes(Root(str(root)))]
    if len(ids) != 2 or ids != sorted(ids):
        return f"run ids do not sort: {ids}"
    collected = bench.forks.run("gc", "--root", root, "--keep", "1")
    again = bench.night(root, system, *OTHER_LISTS)
    if collected.code or again.code or " ran in " in again.log or bench.differing(root, system, *OTHER_LISTS):
        return f"after gc: {collected.code} {collected.log[-500:]} {again.code} {again.log[-1500:]}"
    return ""


def little_memory(bench: Bench, system: str, times: int, _rng: random.Random) -> Count:
    """A process that may have so much memory and no more."""
    count = bench.count(f"out of memory, {system}")
    bench.prepare(system)
    for trial in range(count.tried, times):
        limit = int((1.8 + 2.0 * trial / times) * 2**30)  # address space; the imports alone take 1.5
        root = bench.fresh("memory")
        ended = bench.night(root, system, limits={"RLIMIT_AS": limit})
        count.note(*_at(f"{limit / 2**30:.2f} GiB", bench.judge(root, system, ended)))
    return count


def command(
    bench: Bench,
    root: Path,
    home: Path,
    system: str,
    *,
    before: list[str] | None = None,
    env: dict[str, str] | None = None,
    meanwhile: Callable[[subprocess.Popen[str]], object] | None = None,
) -> Ended:
    """A night as a user types it, with a Prefect server of its own, whose home is `home`."""
    arguments = [*(before or []), str(BIN / "tastegraph"), *bench.arguments(root, system)]
    began, log = time.monotonic(), bench.folder / f"command-{home.name}.log"
    one_thread = {"OMP_NUM_THREADS": "1", "PYTHONPATH": bench.env.get("PYTHONPATH", "")}
    with log.open("w+") as stream:
        night = subprocess.Popen(
            arguments,
            env=environment(home, **one_thread, **(env or {})),
            stdout=stream,
            stderr=stream,
            text=True,
            start_new_session=True,
        )
        if meanwhile:
            threading.Thread(target=meanwhile, args=(night,), daemon=True).start()
        try:
            code = night.wait(REAL_S)
        except subprocess.TimeoutExpired:
            os.killpg(night.pid, signal.SIGKILL)
            code = 124
        stream.seek(0)
        return Ended(code, stream.read(), time.monotonic() - began)


def on_host(name: str) -> list[str]:
    """What comes before a command that runs on a host of this name, with process ids of its own."""
    inner = f'hostname {name}; exec "$@"'
    return ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", inner, "sh"]


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A disk of so many bytes."""
    folder.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "none", folder)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def _mount(*arguments: object) -> None:
    done = subprocess.run(["mount", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImpossibleError(f"disks cannot be mounted here: {done.stderr.strip()}")


def _kill_later(seconds: float, is_group: bool, night: subprocess.Popen[str]) -> None:
    time.sleep(seconds)
    with suppress(ProcessLookupError):
        (os.killpg if is_group else os.kill)(night.pid, signal.SIGKILL)


def _at(what: str, outcome: tuple[str, str]) -> tuple[str, str]:
    return outcome[0], f"{what}: {outcome[1]}"

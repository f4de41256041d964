"""The built-in community as a source directory below the root."""

from dataclasses import dataclass

from storage import tombstones
from storage.refs import Ref, ref_of
from storage.roots import Root
from storage.settings.demo import DemoConfig
from storage.sources.demo.community import write_demo
from tasks.runtime.caching import stage
from tasks.runtime.digests import digest
from tasks.runtime.progress import Progress


@dataclass(frozen=True)
class Demo:
    """The generated community: a source directory below the root."""

    folder: str
    files: list[Ref]


@stage
def generate_demo(config: DemoConfig, forgotten: str, root: Root) -> Demo:
    """Write the demo community as a source directory, without forgotten users and images.

    `forgotten` stands for the root's tombstones in the cache key.
    """
    folder = f"sources/demo-{digest([config, forgotten] if forgotten else config)[:12]}"
    progress = Progress("generate-demo", config.images, "pictures")
    with root.workspace() as workspace:
        forgotten_ids = tombstones.read(root)
        write_demo(config, workspace, progress.reach, forgotten_ids)
        generated = Root(str(workspace))
        files = []
        for entry in list(generated.entries()):
            root.put(workspace / entry.path, f"{folder}/{entry.path}")
            if "/" not in entry.path:
                stored = root.read(f"{folder}/{entry.path}")
                files.append(ref_of(entry.path, f"{folder}/{entry.path}", stored))
    return Demo(folder, files)


def open_source(source: str, config: DemoConfig, root: Root) -> Root:
    """The source directory; for `demo`, the built-in community, written first."""
    return Root(root.url(_demo(config, root).folder) if source == "demo" else source)


def _demo(config: DemoConfig, root: Root) -> Demo:
    return generate_demo(config, tombstones.read(root).digest, root)

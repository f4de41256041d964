"""`benchmarks/gpu.py`, in its small case for a CPU."""

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import torch

PROJECT = Path(__file__).parents[1]
ON_A_BARE_MACHINE = {"torch", "torchvision", "timm", "numpy", "scipy", "scikit-learn", "pyarrow", "pillow"}
BROUGHT_ALONG = {"threadpoolctl", "jinja2", "pyyaml", "safetensors", "httpx"}  # by scikit-learn, torch and timm
BLOCKED = """
import runpy, sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ImportError(f"{name} is not on a bare GPU machine")

blocked = set(sys.argv.pop(1).split(","))
sys.meta_path.insert(0, Blocker())
sys.argv.pop(0)
sys.path.insert(0, "benchmarks")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_it_runs_with_only_what_a_bare_gpu_machine_has():
    done = gpu("--small", "--rounds", "1")

    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    kinds = [line["name"].split(",")[0].split()[0] for line in lines]
    assert kinds == ["training", "embedding", "training", "embedding", "top-10"]
    assert done.stdout.count(": a product reaches ") == 2
    assert len(re.findall(r"^  image_tower\.\S+ .*%$", done.stdout, re.MULTILINE)) == 2 * 8
    assert {"towers", "ridge", "shrunk_factors"} <= set(re.findall(r"^expert (\w+)", done.stdout, re.MULTILINE))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_gives_no_figures_of_one():
    done = gpu()

    assert done.returncode == 2
    assert "torch finds no GPU here; --small" in done.stderr


def gpu(*options: str) -> subprocess.CompletedProcess[str]:
    """The benchmark where what the project depends on cannot be imported, but for what a bare GPU machine has."""
    requirements = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.split(r"[^\w-]", requirement)[0].lower() for requirement in requirements}
    names -= ON_A_BARE_MACHINE | BROUGHT_ALONG
    modules = {module for module, owners in packages_distributions().items() if names & {one.lower() for one in owners}}
    assert {"prefect", "polars", "gensim", "boto3"} <= modules
    command = [sys.executable, "-c", BLOCKED, ",".join(modules), "benchmarks/gpu.py", *options]
    return subprocess.run(
        command,
        cwd=PROJECT,
        env={"PYTHONPATH": ".", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

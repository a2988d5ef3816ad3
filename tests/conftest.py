"""Strictness for every test: no silent broadcasting across ranks, no silent promotion of types."""

import contextlib
import ctypes
import functools
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import jax
import pytest
from jax._src.interpreters import mlir as lowering

from tests import shapes

# Before anything of the library is imported.
shapes.install()

# Most of the suite's time is compilation. On the oldest jaxlib, LLVM's first level of optimization
# takes half as long as its usual one, the emitters of code from before MLIR spare a third, and a
# program in one piece, not in 32 for as many threads, a third of the larger ones, with other
# round-off only. On newer ones all is compiled as users compile it. Read when a device is first
# asked for.
if version("jaxlib").startswith("0.10."):
    FLAGS = (
        "--xla_backend_optimization_level=1 --xla_cpu_use_fusion_emitters=false "
        "--xla_cpu_parallel_codegen_split_count=1"
    )
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"

    # Each of the many small programs is lowered in a context of its own, which takes longer to make
    # than the program to lower; on newer ones they are made as users' are.
    lowering.make_ir_context = functools.cache(lowering.make_ir_context)

# Tracing makes millions of objects that live: looking for dead ones took a tenth of its time.
gc.set_threshold(50_000, 20, 100)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Nobody reads where in the source an operation of a compiled program came from.
jax.config.update("jax_traceback_in_locations_limit", 0)


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled programs for all workers and all processes that tests start, and no longer.

    Nearly half of what the suite compiles is small, and the same as in another file.
    """
    if not hasattr(config, "workerinput"):
        folder = tempfile.mkdtemp(prefix="programs-")
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
        os.environ[PROGRAMS] = folder
    jax.config.update("jax_compilation_cache_dir", os.environ[PROGRAMS])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)


PROGRAMS = "JAX_COMPILATION_CACHE_DIR"


@pytest.fixture
def float64() -> Iterator[None]:
    """Double precision, for statements about mathematics rather than about round-off."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def as_main_runs() -> Iterator[None]:
    """Promotions of types and ranks as in a command; optax needs them."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


RUN_LONG = "samplers", "sde_lib", "test_import.py"
"""Folders and files whose tests spend more time in compiled programs than in compiling them."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Compile without optimization where nothing runs long, which takes a fifth off those tests."""
    shapes.TURN.number += 1
    quick = not {item.path.parent.name, item.path.name} & set(RUN_LONG)
    jax.config.update("jax_disable_most_optimizations", quick)


@pytest.fixture
def quick() -> None:
    """Compile without optimization, for tests that compile much where others run long.

    Programs stay compiled for later tests, which may compare bits: not for tests of scores.
    """
    jax.config.update("jax_disable_most_optimizations", True)


GROWTH = 3 * 2**29
"""Memory that a worker may gain before it forgets its compiled programs."""


def _resident() -> int:
    """Bytes of this process in memory, where the system tells; 0 elsewhere."""
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if pages.exists() else 0


class Room:
    """Memory of a worker after it last forgot its programs, of which something always stays."""

    bytes = 0


@pytest.fixture(scope="module", autouse=True)
def room() -> Iterator[None]:
    """Memory for the next file: all files together compile more than fits into a small machine."""
    yield
    if _resident() > Room.bytes + GROWTH:
        jax.clear_caches()
        gc.collect()
        with contextlib.suppress(AttributeError):  # GNU's
            ctypes.CDLL(None).malloc_trim(0)
        Room.bytes = _resident()


FIRST = (
    "test_main.py", "test_samplers.py", "test_arrays.py", "test_lowering.py", "test_layouts.py",
    "test_import.py", "test_diffusers.py", "test_likelihood.py", "test_flow.py", "test_orders.py",
    "test_adaptive.py", "test_compare.py", "test_evaluate.py", "test_openai_files.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that no worker is left alone with one of them at the end."""
    items.sort(
        key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST)
    )

"""Mutation score of the tests of handlers/: how many small faults in the code make a test fail.

Each mutant is one changed operator, comparison or number, compiled in memory and imported instead of its module by a
process of its own; the tree is never touched. The sample is drawn by a seed and spread over all files by their size.
"""

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import multiprocessing
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
QUICK_S, WHOLE_S = 120, 600
"""Seconds for the tests without properties, and for the properties: a mutant that takes longer is killed."""
PRELOADED = (
    "_hypothesis_pytestplugin",
    "asyncpg",
    "cbor2",
    "hypothesis.strategies",
    "orjson",
    "pydantic_settings",
)
PLUGINS = ("pytest_asyncio.plugin", "pytest_timeout", "_hypothesis_pytestplugin")

SWAPS: dict[type[ast.AST], tuple[type[Any], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,), ast.And: (ast.Or,), ast.Or: (ast.And,),
    ast.Add: (ast.Sub,), ast.Sub: (ast.Add,), ast.Mult: (ast.FloorDiv,), ast.Div: (ast.Mult,),
    ast.FloorDiv: (ast.Mult,), ast.LShift: (ast.RShift,), ast.RShift: (ast.LShift,),
    ast.BitAnd: (ast.BitOr,), ast.BitOr: (ast.BitAnd,), ast.Pow: (ast.Mult,),
}  # fmt: skip


class Mutant(NamedTuple):
    """The `index`th node of a file's tree with the `variant`th change."""

    path: str
    index: int
    variant: int
    label: str


def changed(node: ast.AST) -> list[ast.AST]:
    """Return the mutants of one node."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        return [ast.Constant(not node.value)]
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return [ast.Constant(node.value + 1), ast.Constant(node.value - 1)]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return [node.operand]
    if isinstance(node, ast.Compare):
        return [
            ast.Compare(node.left, [*node.ops[:at], other(), *node.ops[at + 1 :]], node.comparators)
            for at, op in enumerate(node.ops)
            for other in SWAPS[type(op)]
        ]
    if isinstance(node, ast.BoolOp):
        return [ast.BoolOp(other(), node.values) for other in SWAPS[type(node.op)]]
    if isinstance(node, ast.BinOp) and not _is_type(node):
        return [ast.BinOp(node.left, other(), node.right) for other in SWAPS.get(type(node.op), ())]
    return []


def _is_type(node: ast.BinOp) -> bool:
    """Return whether this is a union of types, as in `int | None`."""
    sides = {ast.unparse(one) for one in (node.left, node.right)}
    return isinstance(node.op, ast.BitOr) and not all(one[0] == "_" or one.lower() != one for one in sides)


def nodes(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Yield each node that may change as (parent, field, place in a list, node); not annotations and decorators."""
    for field, value in ast.iter_fields(tree):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        for place, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(node, ast.AST):
                yield tree, field, place, node
                yield from nodes(node)


def mutants(path: str) -> list[Mutant]:
    """Return all mutants of a file."""
    found = []
    for index, (_, _, _, node) in enumerate(nodes(ast.parse((ROOT / path).read_text()))):
        for variant, other in enumerate(changed(node)):
            label = f"{path}:{getattr(node, 'lineno', 0)}: {ast.unparse(node)}  ->  {ast.unparse(other)}"
            found.append(Mutant(path, index, variant, label))
    return found


def sampled(paths: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """Draw `count` mutants, of each file in proportion to how many it has."""
    chance = random.Random(seed)
    spread: list[tuple[float, Mutant]] = []
    for path in paths:
        every = mutants(path)
        chance.shuffle(every)
        spread += [((place + chance.random()) / len(every), one) for place, one in enumerate(every)]
    return [one for _, one in sorted(spread)[:count]]


class Importer(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the mutant instead of its module."""

    def __init__(self, mutant: Mutant) -> None:
        self._file = ROOT / mutant.path
        self._name = mutant.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        self._tree = ast.parse(self._file.read_text())
        parent, field, place, node = list(nodes(self._tree))[mutant.index]
        other = ast.copy_location(copy.deepcopy(changed(node)[mutant.variant]), node)
        if place is None:
            setattr(parent, field, other)
        else:
            getattr(parent, field)[place] = other
        ast.fix_missing_locations(self._tree)

    def find_spec(
        self, name: str, path: object, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        return (
            importlib.util.spec_from_file_location(name, self._file, loader=self)
            if name == self._name
            else None
        )

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._tree, str(self._file), "exec"), module.__dict__)


def is_killed(job: tuple[Mutant | None, int, bool]) -> bool:
    """Run tests/handlers against a mutant (None: the code as it is), in a process that ends afterwards."""
    import pytest

    mutant, seed, quick = job
    if mutant is not None:
        sys.meta_path.insert(0, Importer(mutant))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    os.environ |= {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "HYPOTHESIS_STORAGE_DIRECTORY": tempfile.mkdtemp()}
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    options = [
        "-x",
        "-q",
        "-p",
        "no:cacheprovider",
        "--assert=plain",
        "-o",
        "timeout=0",
        f"--hypothesis-seed={seed}",
    ]
    for plugin in PLUGINS:
        options += ["-p", plugin]
    for tests, limit in (("not hypothesis", QUICK_S), ("hypothesis", WHOLE_S))[: 1 if quick else 2]:
        signal.setitimer(signal.ITIMER_REAL, limit, 10)
        outcome = pytest.main([*options, "-m", tests, "tests/handlers"])
        signal.setitimer(signal.ITIMER_REAL, 0)
        if outcome != pytest.ExitCode.OK:
            return True
    return False


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--count", type=int, default=150)
    arguments.add_argument("--jobs", type=int, default=2)
    arguments.add_argument("--quick", action="store_true", help="without the property tests")
    arguments.add_argument("paths", nargs="*", help="files of handlers/, all where none is named")
    chosen = arguments.parse_args()
    os.chdir(ROOT)
    for name in PRELOADED:
        importlib.import_module(name)
    paths = chosen.paths or sorted(str(one.relative_to(ROOT)) for one in (ROOT / "handlers").rglob("*.py"))
    sample = sampled(paths, chosen.count, chosen.seed)
    with multiprocessing.get_context("fork").Pool(chosen.jobs, maxtasksperchild=1) as pool:
        if pool.apply(is_killed, [(None, chosen.seed, True)]):
            sys.exit("the tests fail without any mutant")
        outcomes = pool.imap(is_killed, [(one, chosen.seed, chosen.quick) for one in sample], chunksize=1)
        killed = 0
        for mutant, is_dead in zip(sample, outcomes, strict=True):
            killed += is_dead
            if not is_dead:
                print("lives", mutant.label, flush=True)
    print(f"killed {killed} of {len(sample)}")


if __name__ == "__main__":
    main()

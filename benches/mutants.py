"""Mutation score of the tests of handlers/: how many small faults in the code make one of them fail.

A mutant is one changed operator, comparison or number, compiled in memory and imported instead of its module by a
process of its own: the tree stays as it is. The sample is drawn by a seed and spread over all files by their size.
"""

import argparse
import ast
import importlib.abc
import importlib.util
import multiprocessing
import os
import random
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
TESTS = ["tests/handlers"]
JOBS = 2
LIMITS = {"not hypothesis": 60, "hypothesis": 900}
"""The two runs of the tests by their marker, and the seconds after which a mutant counts as killed."""
PRELOADED = "_hypothesis_pytestplugin asyncpg cbor2 hypothesis.strategies orjson pydantic_settings"
OPTIONS = "-x -q -p no:cacheprovider --assert=plain -o timeout=0 -p pytest_asyncio.plugin -p pytest_timeout"
PROPERTIES = "-p _hypothesis_pytestplugin --hypothesis-seed="
SWAPS = (
    "Lt:LtE,GtE LtE:Lt,Gt Gt:GtE,LtE GtE:Gt,Lt Eq:NotEq NotEq:Eq Is:IsNot IsNot:Is In:NotIn NotIn:In And:Or Or:And"
    " Add:Sub Sub:Add Mult:FloorDiv Div:Mult FloorDiv:Mult LShift:RShift RShift:LShift BitAnd:BitOr"
    " BitOr:BitAnd Pow:Mult"
)
OTHERS = {name: others.split(",") for name, others in (one.split(":") for one in SWAPS.split())}


class Mutant(NamedTuple):
    """The `index`th node of a file's tree with the `variant`th of its changes."""

    path: str
    index: int
    variant: int
    label: str


def swapped(op: ast.AST) -> list[Any]:
    return [getattr(ast, name)() for name in OTHERS.get(type(op).__name__, [])]


def changed(node: ast.AST) -> list[ast.AST]:
    """Return the mutants of one node."""
    match node:
        case ast.Constant(value=bool(value)):
            return [ast.Constant(not value)]
        case ast.Constant(value=int(value) | float(value)):
            return [ast.Constant(value + 1), ast.Constant(value - 1)]
        case ast.UnaryOp(op=ast.Not()):
            return [node.operand]
        case ast.Compare(left=left, ops=ops, comparators=others):
            options = [(at, op) for at in range(len(ops)) for op in swapped(ops[at])]
            return [ast.Compare(left, [*ops[:at], op, *ops[at + 1 :]], others) for at, op in options]
        case ast.BoolOp(op=op, values=values):
            return [ast.BoolOp(other, values) for other in swapped(op)]
        case ast.BinOp(left=left, op=op, right=right):
            names = (ast.unparse(left), ast.unparse(right))
            is_type = isinstance(op, ast.BitOr) and any(one[0] != "_" and one.lower() == one for one in names)
            return [] if is_type else [ast.BinOp(left, other, right) for other in swapped(op)]
    return []


def nodes(tree: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Yield each node that may change as (parent, field, place in a list, node); not annotations and decorators."""
    for field, value in ast.iter_fields(tree):
        if field not in ("annotation", "returns", "decorator_list"):
            for place, node in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if isinstance(node, ast.AST):
                    yield tree, field, place, node
                    yield from nodes(node)


def mutants(path: str) -> Iterator[Mutant]:
    for index, (_, _, _, node) in enumerate(nodes(ast.parse((ROOT / path).read_text()))):
        for variant, other in enumerate(changed(node)):
            label = f"{path}:{node.lineno}: {ast.unparse(node)}  ->  {ast.unparse(other)}"  # type: ignore[attr-defined]
            yield Mutant(path, index, variant, label)


def sampled(paths: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """Draw `count` mutants, of each file in proportion to how many it has."""
    chance = random.Random(seed)
    spread: list[tuple[float, Mutant]] = []
    for path in paths:
        every = list(mutants(path))
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
        other = ast.copy_location(changed(node)[mutant.variant], node)
        if place is None:
            setattr(parent, field, other)
        else:
            getattr(parent, field)[place] = other
        ast.fix_missing_locations(self._tree)

    def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
        return (
            importlib.util.spec_from_file_location(name, self._file, loader=self)
            if name == self._name
            else None
        )

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._tree, str(self._file), "exec"), module.__dict__)


def _nearest(mutant: Mutant | None) -> list[tuple[str, list[str]]]:
    """Return the run of the tests that are most likely to notice: those of the module, or of its folder."""
    path = Path(mutant.path if mutant else "")
    own = [str(one) for one in Path(*TESTS).rglob(f"test_{path.stem}.py")]
    near = own or [f"tests/{path.parent}"] * (path.parent.name == "webhooks")
    return [("not hypothesis", near)] if near else []


def is_killed(job: tuple[Mutant | None, int, list[str]]) -> bool:
    """Run tests/handlers against a mutant (None: the code as it is), in a process that ends afterwards."""
    mutant, seed, runs = job
    if mutant is not None:
        sys.meta_path.insert(0, Importer(mutant))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(1, 2)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    with tempfile.TemporaryDirectory() as examples:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = examples
        for run, tests in [*_nearest(mutant), *((run, TESTS) for run in runs)]:
            signal.setitimer(signal.ITIMER_REAL, LIMITS[run], 10)
            outcome = pytest.main([*f"{OPTIONS} {PROPERTIES}{seed}".split(), "-m", run, *tests])
            signal.setitimer(signal.ITIMER_REAL, 0)
            if outcome not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
                return True
    return False


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benches.mutants", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=150)
    parser.add_argument("--quick", action="store_true", help="without the property tests")
    chosen = parser.parse_args()
    os.chdir(ROOT)
    for name in PRELOADED.split():
        importlib.import_module(name)
    paths = sorted(str(one.relative_to(ROOT)) for one in (ROOT / "handlers").rglob("*.py"))
    sample, runs = sampled(paths, chosen.count, chosen.seed), list(LIMITS)[: 1 if chosen.quick else 2]
    with multiprocessing.get_context("fork").Pool(JOBS, maxtasksperchild=1) as pool:
        if pool.apply(is_killed, [(None, chosen.seed, runs[:1])]):
            sys.exit("the tests fail without any mutant")
        jobs = [(one, chosen.seed, runs) for one in sample]
        living = 0
        for mutant, is_dead in zip(sample, pool.imap(is_killed, jobs), strict=True):
            living += not is_dead
            if not is_dead:
                print("lives", mutant.label, flush=True)
    print(f"killed {len(sample) - living} of {len(sample)} with seed {chosen.seed}")


if __name__ == "__main__":
    main()

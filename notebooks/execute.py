"""Executes the notebooks in order and writes them with their outputs: ``python notebooks/execute.py``.

It stops at the first cell that fails and says which. Whatever training was done is kept in the run's folder, so the
same command goes on there; only the cells are executed again. Ctrl-C goes to the notebook: a stage that trains finishes
its step and saves.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
_PARAMETERS = "parameters"  # the tag of the first code cell, as papermill has it
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class MistakeError(Exception):
    """What the caller did wrong, in one line."""


def notebooks(folder: Path, wanted: Sequence[str] = ()) -> list[Path]:
    """Return the notebooks of a folder in the order of their numbers; with ``wanted`` those that begin so.

    Raises:
        MistakeError: there is none, or none that begins so.
    """
    found = sorted(folder.glob("[0-9][0-9]_*.py"))
    if not found:
        raise MistakeError(f"{folder}: no notebook (01_name.py, 02_name.py, …)")
    for begin in wanted:
        if not any(file.stem.startswith(begin) for file in found):
            raise MistakeError(f"{begin}: no such notebook; there are {', '.join(file.stem for file in found)}")
    return [file for file in found if not wanted or any(file.stem.startswith(begin) for begin in wanted)]


def read(file: Path) -> Any:
    """Return a notebook node of a jupytext file."""
    import jupytext

    return jupytext.read(file, fmt="py:percent")


def parameters(notebook: Any) -> dict[str, Any]:
    """Return the names that the cell tagged ``parameters`` sets, with their values.

    Raises:
        MistakeError: there is no such cell, or it does more than set names to plain values.
    """
    cell = _parameter_cell(notebook)
    found = {}
    for statement in ast.parse(cell.source).body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            raise MistakeError(f"the cell of parameters does more than set names: {ast.unparse(statement)}")
        found[statement.targets[0].id] = ast.literal_eval(statement.value)
    return found


def set_parameters(notebook: Any, values: dict[str, Any]) -> None:
    """Give parameters other values, in the cell itself, so that the executed notebook shows what it ran with.

    Raises:
        MistakeError: a name that is no parameter.
    """
    known = parameters(notebook)
    for name in values:
        if name not in known:
            raise MistakeError(f"--set {name}: no such parameter; there are {', '.join(known)}")
    cell = _parameter_cell(notebook)
    lines = cell.source.splitlines()
    for statement in ast.parse(cell.source).body:
        name = statement.targets[0].id  # type: ignore[attr-defined]  (`parameters` has looked)
        if name in values:
            assert statement.end_lineno == statement.lineno, "a parameter stands on one line"
            comment = lines[statement.lineno - 1][statement.end_col_offset :]
            lines[statement.lineno - 1] = f"{name} = {values[name]!r}{comment}"
    cell.source = "\n".join(lines)


def parse_values(words: Sequence[str]) -> dict[str, Any]:
    """Read ``NAME=VALUE``; a value that is no Python literal is text.

    Raises:
        MistakeError: not of that form.
    """
    values: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier():
            raise MistakeError(f"--set {word}: expected NAME=VALUE, as in PRESET=kaggle-2xt4")
        try:
            values[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            values[name] = text
    return values


def execute(file: Path, out: Path, values: dict[str, Any]) -> str | None:
    """Execute one notebook in its own folder and write it, as far as it came; return what went wrong, or None."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    notebook = read(file)
    set_parameters(notebook, values)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    number = {id(cell): place for place, cell in enumerate(cells, start=1)}
    running: list[Any] = []

    class Client(NotebookClient):  # type: ignore[misc]  (untyped)
        """Runs the Python that runs this script, and shows what a cell prints while it runs."""

        def create_kernel_manager(self) -> Any:
            manager = super().create_kernel_manager()
            # A kernel of the same name that the user once installed may be of another Python, without personatune.
            manager.kernel_spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            return manager

        def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
            if msg["msg_type"] == "stream":
                for line in msg["content"]["text"].splitlines():
                    print(f"      {line}", flush=True)
            return super().process_message(msg, cell, cell_index)

    def begins(cell: Any, cell_index: int) -> None:
        running[:] = [cell]
        _pass_on_interrupts(client)
        print(f"  {file.stem}  cell {number[id(cell)]} of {len(cells)}", flush=True)

    os.environ.setdefault("PYDEVD_DISABLE_FILE_VALIDATION", "1")  # older kernels warn of a debugger that nobody uses
    client = Client(
        notebook,
        timeout=None,
        coalesce_streams=True,
        kernel_name="python3",
        extra_arguments=["--log-level=ERROR"],  # each kernel warns that it talks over TCP, to this machine alone
        resources={"metadata": {"path": str(file.parent)}},
        on_cell_execute=begins,
    )
    failed = None
    try:
        client.execute()
    except CellExecutionError as error:
        what = _ANSI.sub("", error.evalue).strip().splitlines()
        name = error.ename if error.ename != "KeyboardInterrupt" else "stopped"
        failed = f"{file.name}, cell {number[id(running[0])]} of {len(cells)}: {': '.join([name, *what[:1]])}"
    except DeadKernelError:
        failed = f"{file.name}, cell {number[id(running[0])]} of {len(cells)}: the kernel died (out of memory?)"
    out.mkdir(parents=True, exist_ok=True)
    part = out / f".{file.stem}.{os.getpid()}.part"
    nbformat.write(notebook, part)
    part.replace(out / f"{file.stem}.ipynb")
    return failed


def main(words: Sequence[str] | None = None) -> int:
    """Execute what is asked for; 0 all went through, 1 a cell failed, 2 the caller's mistake, 130 stopped."""
    parser = argparse.ArgumentParser(description="Execute the notebooks in order.")
    parser.add_argument("wanted", nargs="*", metavar="NOTEBOOK", help="how a notebook begins (03); all by default")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a parameter of all of them")
    parser.add_argument("--out", type=Path, default=HERE / "executed", help="folder of the executed notebooks")
    parser.add_argument("--folder", type=Path, default=HERE, help="where the notebooks are")
    given = parser.parse_args(words)
    began = time.monotonic()
    try:
        values, files = parse_values(given.set), notebooks(given.folder, given.wanted)
        for file in files:
            set_parameters(read(file), values)  # a mistake is told before anything runs
        for file in files:
            start = time.monotonic()
            print(file.stem, flush=True)
            failed = execute(file, given.out, values)
            if failed is not None:
                print(f"notebooks: {failed}", file=sys.stderr)
                print(f"As far as it came: {given.out / file.stem}.ipynb. The same command goes on.", file=sys.stderr)
                return 130 if ": stopped" in failed else 1
            print(f"{file.stem}  done in {time.monotonic() - start:.0f} s", flush=True)
    except KeyboardInterrupt:  # before a cell ran
        print("notebooks: stopped; the same command goes on", file=sys.stderr)
        return 130
    except ModuleNotFoundError as error:
        print(f"notebooks: {error.name} is missing; run: pip install 'personatune[notebooks]'", file=sys.stderr)
        return 2
    except MistakeError as error:
        print(f"notebooks: {error}", file=sys.stderr)
        return 2
    print(f"{len(files)} notebooks in {time.monotonic() - began:.0f} s: {given.out}")
    return 0


def _parameter_cell(notebook: Any) -> Any:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if _PARAMETERS in cell.metadata.get("tags", []):
                return cell
            break
    raise MistakeError(f"the first code cell is not tagged {_PARAMETERS!r}")


def _pass_on_interrupts(client: Any) -> None:
    """Send Ctrl-C to the kernel, where a stage finishes its step and saves; nbclient would kill it."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, lambda: asyncio.ensure_future(_interrupt(client)))


async def _interrupt(client: Any) -> None:
    interrupted = client.km.interrupt_kernel()
    if asyncio.iscoroutine(interrupted):
        await interrupted


if __name__ == "__main__":
    sys.exit(main())

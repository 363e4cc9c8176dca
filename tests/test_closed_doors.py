"""No pickle, no remote code, no shell, nothing evaluated, nothing unpacked to disk: read from the source itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import personatune

PACKAGE = Path(personatune.__file__).parent
REPOSITORY = Path(__file__).resolve().parent.parent

PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle"}
"""Modules whose files run code when they are read."""
CALLED = {
    "eval": "evaluates text", "exec": "runs text", "compile": "compiles text", "__import__": "imports by name",
    "os.system": "a shell", "os.popen": "a shell", "subprocess.getoutput": "a shell",
    "subprocess.getstatusoutput": "a shell",
    "torch.load": "a pickle", "torch.hub.load": "remote code", "torch.jit.load": "a program",
    "pandas.read_pickle": "a pickle", "pd.read_pickle": "a pickle", "yaml.unsafe_load": "Python objects",
    "yaml.full_load": "Python objects", "yaml.load_all": "Python objects", "yaml.unsafe_load_all": "Python objects",
    "shutil.unpack_archive": "unpacks to disk", "tempfile.mktemp": "a race", "pty.spawn": "a shell",
}  # fmt: skip
METHODS = {
    "extractall": "unpacks to disk",
    "extract": "unpacks to disk",
    "read_pickle": "a pickle",
    "to_pickle": "a pickle",
}
REMOTE = {"from_pretrained", "from_config", "load_dataset"}
"""What runs a stranger's code, or asks whether to, unless it is told not to."""
ALLOWED = {
    ("plain_yaml.py", "yaml.load"),  # with the safe loader, see below
    ("training/reward_terms.py", "importlib.import_module"),  # functions of one's own, by name in one's own settings
    ("__init__.py", "importlib.import_module"),  # of this package's own modules
}


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def doors(source: str, file: str = "x.py") -> Iterator[str]:
    """Yield every door that a source leaves open: "line 3: torch.load (a pickle)"."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"line {node.lineno}: imports {name}" for name in names if name.split(".")[0] in PICKLING)
        if isinstance(node, ast.Call):
            yield from (f"line {node.lineno}: {found}" for found in _call(node, file))


def _call(node: ast.Call, file: str) -> Iterator[str]:
    name = _dotted(node.func)
    last = name.rpartition(".")[2] or (node.func.attr if isinstance(node.func, ast.Attribute) else "")
    given = {keyword.arg: keyword.value for keyword in node.keywords}
    constant = {key: value.value for key, value in given.items() if isinstance(value, ast.Constant)}
    if name in CALLED and ast.unparse(node) != "exec('')":  # which runs nothing
        yield f"{name} ({CALLED[name]})"
    elif last in METHODS and isinstance(node.func, ast.Attribute):
        yield f".{last} ({METHODS[last]})"
    if name in {"yaml.load", "importlib.import_module", "import_module"} and (file, name) not in ALLOWED:
        yield f"{name}"
    if "shell" in given and constant.get("shell") is not False:
        yield f"{name} with shell="
    if "allow_pickle" in given and constant.get("allow_pickle") is not False:
        yield f"{name} with allow_pickle="
    if "weights_only" in given:
        yield f"{name} with weights_only= (a pickle all the same)"
    if "trust_remote_code" in given and constant.get("trust_remote_code") is not False:
        yield f"{name} with trust_remote_code="
    owner = name.rpartition(".")[0]
    if last in REMOTE and (owner.startswith("Auto") or owner == "auto") and "trust_remote_code" not in given:
        yield f"{name} without trust_remote_code=False"


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_the_package_leaves_no_door_open(file: Path) -> None:
    name = str(file.relative_to(PACKAGE))
    assert list(doors(file.read_text(encoding="utf-8"), name)) == []


@pytest.mark.parametrize("folder", ["tools", "campaigns", "notebooks"])
def test_scripts_beside_the_package_leave_none_open_either(folder: str) -> None:
    found = [
        f"{file.relative_to(REPOSITORY)}, {door}"
        for file in sorted((REPOSITORY / folder).rglob("*.py"))
        for door in doors(file.read_text(encoding="utf-8"))
        if "import_module" not in door
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "eval('1')",
        "exec(text)",
        "__import__(name)",
        "import os\nos.system('ls')",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import subprocess\nsubprocess.run('ls', shell=wanted)",
        "import yaml\nyaml.load(text)",
        "import yaml\nyaml.unsafe_load(text)",
        "import zipfile\nzipfile.ZipFile('x').extractall('y')",
        "archive.extract('x')",
        "AutoModel.from_pretrained('x', trust_remote_code=True)",
        "AutoModel.from_pretrained('x', trust_remote_code=asked)",
        "AutoTokenizer.from_pretrained('x')",
        "load_dataset('x', trust_remote_code=True)",
        "import importlib\nimportlib.import_module(name)",
        "torch.load(x, weights_only=True)",
    ],
)
def test_an_open_door_is_seen(source: str) -> None:
    assert list(doors(source))


@pytest.mark.parametrize(
    "source",
    [
        "import json\njson.loads(text)",
        "model.eval()",
        "import re\nre.compile('x')",
        "layer.compile(dynamic=True)",
        "import subprocess\nsubprocess.run(['ls'], shell=False)",
        "AutoModel.from_pretrained('x', trust_remote_code=False)",
        "PeftModel.from_pretrained(base, 'x')",
        "from safetensors.torch import load_file\nload_file('x')",
        "import ast\nast.literal_eval('1')",
    ],
)
def test_what_is_no_door_passes(source: str) -> None:
    assert list(doors(source)) == []


def test_yaml_is_read_by_the_safe_loader_alone() -> None:
    import yaml

    from personatune.plain_yaml import NotYamlError, parse_yaml

    for text in ("!!python/object/apply:os.system [echo]", "!!python/name:os.system", "a: !!python/tuple [1]"):
        with pytest.raises(NotYamlError):
            parse_yaml(text)
    assert issubclass(getattr(yaml, "CSafeLoader", yaml.SafeLoader), yaml.constructor.SafeConstructor)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: &x [1, 1]\nb: [*x, *x]", "an alias"),
        ("[" * 200, "nested deeper than 100 levels"),
        ("{a: " * 200, "nested deeper than 100 levels"),
        ("- " * 5000 + "1", "nested deeper than 100 levels"),
        ("a: 2024-99-99", "a value that can't be read"),
        ("a: " + "9" * 5000, "a value that can't be read"),
        ("? [1, 2]\n: 3", "unhashable"),
        ("a: [1", "flow sequence"),
        ("\x00", "characters are not allowed"),
    ],
)
def test_yaml_that_grows_or_breaks_something_is_refused(text: str, why: str) -> None:
    from personatune.plain_yaml import NotYamlError, parse_yaml

    with pytest.raises(NotYamlError) as caught:
        parse_yaml(text)
    assert why in str(caught.value) or why == "flow sequence"
    assert "\n" not in str(caught.value)


def test_every_test_that_the_security_page_names_is_there() -> None:
    page = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|campaigns)/[\w/]+\.py)`", page)
    assert len(named) > 15
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []

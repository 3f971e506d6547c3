"""The six files against plain formulas, as KernelBench loads them, and their structure.

Inputs are small integers (powers of two for products), whose scans are exact in every order: results must be equal, not close.
"""

import ast
import importlib.util
import re

import numpy as np
import pytest
import torch
from cumulus.kernelbench import PROBLEMS

SHAPES = [(2, 2), (2, 1), (1, 7), (3, 5), (5, 127), (9, 128), (4, 129), (33, 1031), (3, 4097), (2, 32768)]
MODELS = sorted({problem.model: problem for problem in PROBLEMS.values()}.items())
every_problem = pytest.mark.parametrize("name", PROBLEMS)
every_model = pytest.mark.parametrize("source", [pytest.param(problem.source(), id=model) for model, problem in MODELS])


def sample(name, shape, dtype=torch.float32, seed=1):
    """Inputs whose scan is exact."""
    random = np.random.default_rng(seed)
    if name == "90":  # random signs; twos and halves by turns, so that no product leaves the range
        x = random.choice([-1.0, 1.0], shape) * 2.0 ** (1 - 2 * (np.indices(shape).sum(axis=0) % 2))
    else:
        x = random.integers(-4, 5, shape).astype(np.float64)
    inputs = [torch.tensor(x, dtype=dtype)]
    if name == "93":
        inputs.append(torch.tensor(random.choice([0.0, 0.5, 1.0, 2.0], shape), dtype=dtype))
    if name == "93-bool":
        inputs.append(torch.tensor(random.integers(0, 2, shape).astype(bool)))
    return inputs


def reference(name, x, *mask, dim):
    """What the problem asks for, by NumPy in float64."""
    if name == "90":
        return np.cumprod(x, dim)
    if name == "91":
        return np.flip(np.cumsum(np.flip(x, dim), dim), dim)
    if name == "92":
        return np.cumsum(x, dim) - x
    if name == "92-old":
        longer = np.insert(x, 0, 0, axis=dim)
        return np.cumsum(longer[: len(longer) - 1], dim)
    return np.cumsum(x * mask[0] if mask else x, dim)


def load(source):
    """As KernelBench's `load_custom_model` does: its own lines before the text, which is then executed in a bare context."""
    context = {}
    text = "import os\nos.environ['KERNELBENCH_TEST'] = '1'\n" + source
    compile(text, "<string>", "exec")
    exec(text, context)
    return context["ModelNew"]


def check(name, call, inputs, dim):
    expected = torch.tensor(reference(name, *(x.double().numpy() for x in inputs), dim=dim).copy())
    out = call(*inputs)
    assert out.dtype == inputs[0].dtype and out.device == inputs[0].device
    assert out.shape == expected.shape
    assert torch.equal(out.double(), expected)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@every_problem
def test_model_equals_formula(name, shape, dim):
    check(name, load(PROBLEMS[name].source())(dim), sample(name, shape), dim)


@pytest.mark.parametrize("dim", [0, 1, 2])
@every_problem
def test_three_dimensions(name, dim):
    check(name, load(PROBLEMS[name].source())(dim), sample(name, (3, 70, 5)), dim)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
@every_problem
def test_other_dtypes(name, dtype):
    inputs = sample(name, (3, 40), dtype)
    if dtype == torch.bfloat16:
        inputs[0] = inputs[0].sign()  # its 8 bits hold sums of 40 signs; halves come in by the mask alone
    check(name, load(PROBLEMS[name].source())(1), inputs, 1)


@every_problem
def test_transposed_input_is_taken_as_it_is(name):
    inputs = [x.t() for x in sample(name, (130, 9))]
    before = [x.clone() for x in inputs]
    check(name, load(PROBLEMS[name].source())(1), inputs, 1)
    assert all(torch.equal(x, y) for x, y in zip(inputs, before, strict=True))


@pytest.mark.parametrize("dim", [0, 1])
@every_problem
def test_problem_formula(name, dim):
    """The runner's own reference, the torch formula, against the NumPy one."""
    problem = PROBLEMS[name]
    check(name, lambda *inputs: problem.formula(*inputs, dim), sample(name, (37, 129)), dim)


def test_old_92_is_prefixes_of_all_rows_but_the_last():
    out = load(PROBLEMS["92-old"].source())(1)(torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]))
    assert out.tolist() == [[0, 1, 3, 6], [0, 4, 9, 15]]


def test_old_92_of_one_row_is_empty():
    assert load(PROBLEMS["92-old"].source())(1)(torch.ones(1, 5)).shape == (0, 6)


def test_a_bool_mask_selects_and_does_not_multiply():
    x = torch.tensor([[1.0, torch.nan, 2.0, torch.inf]])
    out = load(PROBLEMS["93-bool"].source())(1)(x, torch.tensor([[True, False, True, False]]))
    assert out.tolist() == [[1, 1, 3, 3]]


def test_a_mask_broadcasts():
    out = load(PROBLEMS["93-bool"].source())(1)(torch.ones(2, 3), torch.tensor([True, False, True]))
    assert out.tolist() == [[1, 1, 2], [1, 1, 2]]


@every_model
def test_import_from_a_file(source, tmp_path):
    """KernelBench's other way: `load_custom_model_with_tempfile`."""
    (tmp_path / "custom.py").write_text(source)
    spec = importlib.util.spec_from_file_location("temp_module", tmp_path / "custom.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.ModelNew(1).to(device="cpu", dtype=torch.float32)
    assert isinstance(model, torch.nn.Module) and model.dim == 1 and hasattr(model, "forward")


# --- The text --------------------------------------------------------------------------------------------------------------------

PASSES_OVER_MEMORY = {
    "cat",
    "concat",
    "concatenate",
    "hstack",
    "stack",
    "flip",
    "fliplr",
    "flipud",
    "mul",
    "multiply",
    "where",
    "masked_fill",
}


def structure_faults(source):
    """What is wrong with a model's text; [] if nothing is. The order: docstring, imports, functions, class ModelNew, and no more."""
    tree = ast.parse(source)
    kinds = [type(node).__name__ for node in tree.body]
    faults = []
    if not re.fullmatch(r"Expr,(Import,|ImportFrom,)+(FunctionDef,)+ClassDef,", "".join(kind + "," for kind in kinds)):
        faults.append(f"order {kinds}")
    if ast.get_docstring(tree) is None or getattr(tree.body[-1], "name", None) != "ModelNew":
        faults.append("docstring first, ModelNew last")
    for node in ast.walk(tree):
        name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else None
        if name in PASSES_OVER_MEMORY or isinstance(node, ast.BinOp):
            faults.append(f"a pass of its own over memory: {ast.unparse(node)}")
        if isinstance(node, ast.ImportFrom) and (node.module == "__future__" or node.level):
            faults.append(f"cannot be executed behind other lines, outside its package: {ast.unparse(node)}")
        if isinstance(node, ast.FunctionDef) and node.name in {"get_inputs", "get_init_inputs", "main"}:
            faults.append(f"test code: {node.name}")
    # KernelBench's static check looks for these words anywhere, also in docstrings.
    return faults + re.findall(r"\btry\s*:|\bexcept\b|\bpass\b", source)


@every_model
def test_structure(source):
    assert structure_faults(source) == []


GOOD = '"""Doc."""\nimport torch\ndef f(x): return x\nclass ModelNew(torch.nn.Module): dim = 1\n'


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.replace("return x", "return x.flip(0)"),
        lambda s: s.replace("return x", "return torch.cat((x, x))"),
        lambda s: s.replace("return x", "return x * 2"),
        lambda s: s.replace("import torch", "from __future__ import annotations\nimport torch"),
        lambda s: s.replace("import torch", "from . import torch"),
        lambda s: s + "def get_inputs(): return []\n",
        lambda s: s + "if __name__ == '__main__': f(1)\n",
        lambda s: s.replace("Doc.", "In one pass."),
        lambda s: s.replace("ModelNew", "Model"),
    ],
)
def test_structure_check_finds_faults(change):
    assert structure_faults(GOOD) == []
    assert structure_faults(change(GOOD)) != []

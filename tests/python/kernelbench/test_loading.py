"""ModelNew out of Python files and task documents."""

import pytest
import torch
from cumulus.kernelbench.loading import load_model, model_source

CODE = 'FENCE = """``` inside"""\n\n\nclass ModelNew:\n    pass\n'


def test_python_is_taken_as_it_is():
    assert model_source(CODE) == CODE
    mentioned = "# not a heading: [CURRENT CODE]\n" + CODE
    assert model_source(mentioned) == mentioned


def test_first_block_after_the_heading(document):
    assert model_source(document(CODE)) == CODE
    before = "An example:\n```python\nraise SystemExit\n```\n"
    assert model_source(before + document(CODE)) == CODE
    assert model_source(document(CODE).replace("[CURRENT CODE]", "[CURRENT CODE]  ").replace("```python", "```python ")) == CODE


def test_an_open_block_is_refused(document):
    opened = document(CODE).partition("\n```\n")[0]
    with pytest.raises(ValueError, match=r"no fenced block .* follows the line \[CURRENT CODE\]; close the block"):
        model_source(opened)


def test_windows_line_ends(document, tmp_path):
    path = tmp_path / "task.txt"
    path.write_bytes(document(CODE).replace("\n", "\r\n").encode())
    assert load_model(path, tmp_path).__name__ == "ModelNew"


def test_load(document, peer, tmp_path):
    file = peer("plain", "return torch.cumsum(x, dim)")
    task = tmp_path / "task.txt"
    task.write_text(document(file.read_text()))
    x = torch.rand(3, 5)
    for path in (file, task):
        assert torch.equal(load_model(path, tmp_path)(1)(x), x.cumsum(1))


def test_two_models_do_not_share_names(peer, tmp_path):
    first, second = (load_model(peer(f"m{i}", f"return {i}"), tmp_path) for i in (1, 2))
    assert (first(1)(None), second(1)(None)) == (1, 2)


def test_source_stays_readable(peer, tmp_path):
    """@triton.jit asks inspect for the source of its functions."""
    import inspect

    model = load_model(peer("plain", "return x"), tmp_path)
    assert "return scan(x, self.dim)" in inspect.getsource(model.forward)


@pytest.mark.parametrize("code", ["x = 1\n", "ModelNew = 3\n"])
def test_without_model(code, tmp_path):
    path = tmp_path / "empty.py"
    path.write_text(code)
    with pytest.raises(ValueError, match="empty.py defines no class ModelNew"):
        load_model(path, tmp_path)


def test_errors_of_the_code_come_through(tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("import a_module_that_nobody_has\n")
    with pytest.raises(ModuleNotFoundError, match="a_module_that_nobody_has"):
        load_model(path, tmp_path)
    path.write_text("def f(:\n")
    with pytest.raises(SyntaxError):
        load_model(path, tmp_path)

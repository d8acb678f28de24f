import re
import sys

import pytest

from compress_gym.problem.decisions import DecisionSpace
from compress_gym.support.lazy import OPTIONAL, load

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def test_an_entry_is_imported():
    assert load("compress_gym.problem.decisions:DecisionSpace") is DecisionSpace
    assert load("compress_gym.problem.decisions:DecisionSpace.encode") is DecisionSpace.encode


@pytest.mark.parametrize("entry", ["compress_gym.envs", "compress_gym.envs:", ":name", "a b:c", "a:b:c", "a..b:c", ""])
def test_another_form_is_refused(entry):
    with pytest.raises(ValueError, match=re.escape(f"entry={entry!r} must have the form 'package.module:name'")):
        load(entry)


def test_what_is_not_there_is_named():
    with pytest.raises(ValueError, match="no module 'compress_gym.unknown'"):
        load("compress_gym.unknown.module:name")
    with pytest.raises(ValueError, match="no module 'nothing_of_this_name'"):
        load("nothing_of_this_name:name")
    with pytest.raises(ValueError, match="module 'compress_gym.support.lazy' has no 'store'"):
        load("compress_gym.support.lazy:store")


@pytest.mark.parametrize(
    ("needs", "message"),
    [
        ("torch", r"'tiny_module:name' needs torch; install it with: pip install 'compress_gym\[live\]'"),
        ("sklearn.svm", r"needs scikit-learn; install it with: pip install 'compress_gym\[live\]'"),
        ("package_of_a_plugin", "needs package_of_a_plugin, which is not installed"),
    ],
)
def test_what_a_module_needs_is_told(needs, message, tmp_path, monkeypatch):
    (tmp_path / "tiny_module.py").write_text(f"raise ModuleNotFoundError(name={needs!r})\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=message):
        load("tiny_module:name")


def test_the_extras_are_those_of_the_package(request):
    extras = tomllib.loads((request.config.rootpath / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package, extra in OPTIONAL.values():
        assert any(re.match(rf"{package}\b", requirement) for requirement in extras[extra]), package

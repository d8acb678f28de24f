"""Files that a checkout has and the package has not: the tasks' folder here is as a wheel has it."""

from __future__ import annotations

import json
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from compress_gym.cli import cli
from compress_gym.kinds import get_case
from compress_gym.support.errors import AssetError
from compress_gym.support.home import HOME_VARIABLE
from compress_gym.tasks import ASSETS, fetchable, fetched, get_task, list_tasks, registry
from compress_gym.tasks.fetched import ADDRESS_VARIABLE, fetched_folder
from leaderboard import tracks
from leaderboard.replay import Verdict, replay
from leaderboard.tracks import load_tracks
from tests.helpers import run_here

ROOT = Path(__file__).parents[2]

NAME, FILES = "multi30k-ende", ("weights.safetensors", "vocabulary.bpe")
FETCH = ("data", "fetch", f"{NAME}-weights")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The tasks' folder of an installed package, which lacks the files; the user's folder is empty."""
    assets = tmp_path / "site" / "assets"
    shutil.copytree(ASSETS / NAME, assets / NAME, ignore=shutil.ignore_patterns(*FILES))
    monkeypatch.setattr(registry, "ASSETS", assets)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    monkeypatch.delenv(ADDRESS_VARIABLE, raising=False)
    return assets


@pytest.fixture
def run(monkeypatch, capsys):
    return lambda *arguments: run_here(cli, arguments, monkeypatch, capsys)


@pytest.fixture
def checkout(tmp_path):
    """What a checkout has of the task, where it has it; its files may be damaged."""
    folder = tmp_path / "checkout" / "compress_gym" / "tasks" / "assets" / NAME
    folder.mkdir(parents=True)
    for name in FILES:
        shutil.copy(ASSETS / NAME / name, folder)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_needs_no_weights_works_without(installed, run):
    case = get_case("TransformerNAS", NAME)
    assert case.task.folder == installed / NAME and not case.task.weights.exists()
    assert case.task.ready and NAME in list_tasks()
    card = json.loads((ASSETS / NAME / "weights.json").read_text())
    assert case.task.weights_card() == card and case.task.weights_digest == card["sha256"]
    assert case.problem().accuracy(case.decisions().uncompressed)[0] > 0.3
    assert run("describe", NAME)[0] == 0


def test_entries_of_the_leaderboard_are_replayed_without(installed):
    for folder in ASSETS.iterdir():  # other tracks have other tasks
        if folder.name != NAME:
            (installed / folder.name).symlink_to(folder)
    tracks._problem.cache_clear()
    try:
        found = replay(ROOT / "leaderboard" / "submissions" / "transformer-half" / "random.json", load_tracks())
        assert found.verdict is Verdict.COSTS_ONLY and not found.reasons and found.results
    finally:
        tracks._problem.cache_clear()  # its problem is of this test's folder


def test_digests_are_those_of_a_checkout(installed, monkeypatch):
    case = get_case("TransformerNAS", NAME)
    without, made_with = case.asset_hash(), case.task.made_with
    monkeypatch.setattr(registry, "ASSETS", ASSETS)
    case = get_case("TransformerNAS", NAME)
    assert case.task.folder == ASSETS / NAME and case.task.weights.exists()
    assert case.asset_hash() == without and case.task.made_with == made_with


@pytest.mark.parametrize("name", FILES)
def test_what_needs_them_names_the_command(installed, name):
    words = rf"task='multi30k-ende': {name} is not in the package.*compress-gym data fetch multi30k-ende-weights --from"
    with pytest.raises(AssetError, match=words):
        get_task(NAME).checked(name)


@pytest.mark.parametrize("above", range(5), ids=["itself", "assets", "tasks", "package", "checkout"])
def test_they_are_taken_from_a_checkout(installed, checkout, run, above, tmp_path):
    """From its root, from the task's folder, or from the folder that holds that one."""
    source = [checkout, *checkout.parents][above]
    before = content(installed)
    code, shown, errors = run(*FETCH, "--from", source)
    if above in (2, 3):
        assert code == 2 and "--from must name a checkout" in errors
        return
    assert code == 0 and "terms: trained on Multi30k, which is for non-commercial research and education" in shown
    assert content(tmp_path / "home") == {f"fetched/{NAME}/{name}": (checkout / name).read_bytes() for name in FILES}
    assert content(installed) == before
    for name in FILES:
        assert get_task(NAME).checked(name) == fetched_folder(NAME) / name
    assert run(*FETCH)[0] == 0  # they are there: no address is needed


DAMAGES = {
    "missing": (lambda path: path.unlink(), "the file is missing"),
    "altered": (lambda path: path.write_bytes(path.read_bytes() + b"x"), "incomplete or altered"),
    "empty": (lambda path: path.write_bytes(b""), "incomplete or altered"),
}
every_damage = pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)


@every_damage
@pytest.mark.parametrize("name", FILES)
def test_a_wrong_source_is_one_line_and_leaves_nothing(installed, checkout, run, tmp_path, name, damage, words):
    damage(checkout / name)
    code, shown, errors = run(*FETCH, "--from", tmp_path / "checkout")
    (line,) = errors.strip().splitlines()
    assert code == 2 and not shown and f"{name}: {words}" in line
    assert line.endswith("--from must name a checkout of compress_gym, of this version")
    assert content(tmp_path / "home") == {}


def test_without_an_address_a_checkout_is_asked_for(installed, run, tmp_path):
    assert fetched.ADDRESS is None, "once there is one, the messages of this test are no longer true"
    code, _, errors = run(*FETCH)
    (line,) = errors.strip().splitlines()
    assert code == 2 and "not published yet" in line and "--from CHECKOUT" in line and ADDRESS_VARIABLE in line
    assert not (tmp_path / "home").exists()


def test_an_unknown_name_is_told(run):
    code, _, errors = run("data", "fetch", "multi30k-weights")
    assert code == 2 and "Did you mean 'multi30k-ende-weights'" in errors
    assert "multi30k-ende-weights" in run("data", "fetch", "--help")[1].replace("\n", "").replace(" ", "")


@every_damage
def test_damage_after_fetching_names_the_command(installed, checkout, run, tmp_path, damage, words):
    run(*FETCH, "--from", tmp_path / "checkout")
    case, path = get_case("TransformerNAS", NAME), fetched_folder(NAME) / FILES[0]
    before = case.asset_hash()
    damage(path)
    with pytest.raises(AssetError, match=r"compress-gym data fetch multi30k-ende-weights --from"):
        case.task.checked(FILES[0])
    assert case.asset_hash() == before
    assert run(*FETCH)[0] == 2
    assert run(*FETCH, "--from", tmp_path / "checkout")[0] == 0 and case.task.checked(FILES[0]) == path


def test_files_of_another_version_are_refused(installed, checkout, run, tmp_path):
    run(*FETCH, "--from", tmp_path / "checkout")
    path = installed / NAME / "weights.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "sha256": "0" * 64}))
    with pytest.raises(AssetError, match="weights.safetensors: the checksum differs.*compress-gym data fetch"):
        get_task(NAME).checked(FILES[0])


def test_a_checkout_has_them(run, monkeypatch, tmp_path):
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path / "home"))
    assert f"{NAME}-weights is at {ASSETS / NAME}" in run(*FETCH)[1]
    assert not (tmp_path / "home").exists()


def test_every_task_that_fetches_has_cards_with_terms():
    assert list(fetchable()) == [f"{NAME}-weights"]
    for task in fetchable().values():
        for name in task.declared.fetched:
            assert "non-commercial" in json.loads((task.folder / name).with_suffix(".json").read_text())["terms"]


def test_nothing_is_trained_in_their_place(installed, run):
    code, _, errors = run("train", NAME)
    assert code == 2 and "has weights already" in errors


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def address(checkout, monkeypatch):
    """A web server on this machine that offers the checkout's files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(checkout.parent)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setattr(fetched, "ADDRESS", f"http://127.0.0.1:{server.server_port}")
    yield fetched.ADDRESS
    server.shutdown()
    server.server_close()
    thread.join()


def test_they_are_downloaded(installed, address, checkout, run, tmp_path):
    with pytest.raises(AssetError, match="data fetch multi30k-ende-weights$"):
        get_task(NAME).checked(FILES[0])
    assert run(*FETCH)[0] == 0
    assert content(tmp_path / "home") == {f"fetched/{NAME}/{name}": (checkout / name).read_bytes() for name in FILES}
    (fetched_folder(NAME) / FILES[1]).write_bytes(b"damaged")
    assert run(*FETCH)[0] == 0 and get_task(NAME).checked(FILES[1]).exists()


@every_damage
def test_a_wrong_download_leaves_nothing(installed, address, checkout, run, tmp_path, damage, words):
    damage(checkout / FILES[1])
    code, shown, errors = run(*FETCH)
    line = errors.strip().splitlines()[-1]
    assert (
        code == 2 and not shown and FILES[1] in line and line.endswith("data fetch multi30k-ende-weights --from FOLDER")
    )
    assert content(tmp_path / "home") == {}


def test_the_environment_names_another_address(installed, address, run, monkeypatch):
    monkeypatch.setattr(fetched, "ADDRESS", None)
    monkeypatch.setenv(ADDRESS_VARIABLE, f"{address}/")
    assert run(*FETCH)[0] == 0

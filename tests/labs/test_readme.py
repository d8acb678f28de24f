"""What the page for teachers says runs as it is written."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from glob import glob

import numpy as np

from agents.search.__main__ import main as search
from labs.notebooks import FOLDER, all_labs
from leaderboard.__main__ import cli
from tests.helpers import run_here

README = (FOLDER / "README.md").read_text(encoding="utf-8")


def block_with(words):
    (block,) = [b for b in re.findall(r"```\n(.*?)```", README, flags=re.S) if words in b]
    return block


def test_every_lab_is_listed():
    rows = re.findall(r"^\| (\d) `(\w+)` \|", README, flags=re.M)
    assert [f"lab{number}_{name}" for number, name in rows] == list(all_labs())


def test_a_class_builds_its_leaderboard(tmp_path, monkeypatch, capsys):
    (tmp_path / "labs").mkdir()
    shutil.copy(FOLDER / "class.toml", tmp_path / "labs")
    monkeypatch.chdir(tmp_path)
    for line in (block_with("leaderboard submit") + block_with("leaderboard build")).splitlines():
        _, _, module, *words = shlex.split(line)
        arguments = [path for word in words for path in (glob(word) if "*" in word else [word])]
        code, _, err = run_here({"agents.search": search, "leaderboard": cli}[module], arguments, monkeypatch, capsys)
        assert code == 0, err
    assert "verified live" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "Änne Müller" in (tmp_path / "site" / "digits-70" / "mine.html").read_text(encoding="utf-8")


def test_a_students_own_agent_hands_in(tmp_path, monkeypatch, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    monkeypatch.chdir(tmp_path)
    exec(block, {"train": play_at_random})
    runs = ["runs/ddpg_0", "runs/ddpg_1", "--tracks", FOLDER / "class.toml"]
    about = ["--name", "mine", "--author", "Änne Müller", "--submissions", "class"]
    code, _, err = run_here(cli, ["submit", *runs, *about], monkeypatch, capsys)
    assert code == 0, err
    code, out, _ = run_here(cli, ["verify", "class/digits-70/mine.json", *runs[2:]], monkeypatch, capsys)
    assert out.startswith("class/digits-70/mine.json: verified by table") and code == 10
    submission = json.loads((tmp_path / "class" / "digits-70" / "mine.json").read_text(encoding="utf-8"))
    assert (submission["method"], submission["command"]) == ("my-ddpg", None)


def play_at_random(env, seed):
    rng = np.random.default_rng(seed)
    for _ in range(200):
        env.reset()
        while not env.step(rng.uniform(-1, 1, 1).astype(np.float32))[2]:
            pass

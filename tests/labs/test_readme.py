"""What the page for teachers says runs as it is written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

from labs.notebooks import FOLDER, all_labs

ROOT = FOLDER.parent
README = (FOLDER / "README.md").read_text(encoding="utf-8")


def block_with(words):
    (block,) = [b for b in re.findall(r"```\n(.*?)```", README, flags=re.S) if words in b]
    return block


def test_every_lab_is_listed():
    rows = re.findall(r"^\| (\d) `(\w+)` \|", README, flags=re.M)
    assert [f"lab{number}_{name}" for number, name in rows] == list(all_labs())


def test_a_class_builds_its_leaderboard(tmp_path):
    (tmp_path / "labs").mkdir()
    shutil.copy(FOLDER / "class.toml", tmp_path / "labs")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    for command in (block_with("leaderboard submit") + block_with("leaderboard build")).splitlines():
        command = command.replace("python ", f"'{sys.executable}' ", 1)
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "Änne Müller" in index and "verified live" in index
    assert (tmp_path / "site" / "digits-70" / "mine.html").exists()

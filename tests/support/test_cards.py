from __future__ import annotations

import multiprocessing
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from compress_gym.support.cards import portable, write_arrays, write_atomically

# A limit on the size of files stands for a disk that is full: writing fails in the middle.
SCRIPT = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from compress_gym.support.cards import write_arrays
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
write_arrays(Path(sys.argv[1]), x=np.random.default_rng(0).random(10_000))
"""


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "table.npz"
    write_arrays(path, x=np.arange(3))
    before = path.read_bytes()
    root = Path(__file__).parents[2]
    ran = subprocess.run([sys.executable, "-c", SCRIPT, path], capture_output=True, text=True, cwd=root)
    assert ran.returncode != 0 and "File too large" in ran.stderr
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_a_failing_writer_leaves_the_old_file(tmp_path):
    path = tmp_path / "card.json"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        write_atomically(path, fail)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_a_kill_leaves_is_no_file_like_the_others(tmp_path):
    def killed(temporary):
        temporary.write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=write_atomically, args=(tmp_path / "mine.csv", killed))
    process.start()
    process.join()
    assert (
        process.exitcode == -signal.SIGKILL and not list(tmp_path.glob("*.csv")) and len(list(tmp_path.iterdir())) == 1
    )


def test_commands_on_cards_have_no_folders_of_the_machine_that_made_them():
    assert portable("python -m x --work /home/me/work --out=/a/b.csv y/z 'a/b'") == (
        "python -m x --work work --out=b.csv y/z 'a/b'"
    )
    root = Path(__file__).parents[2]
    cards = [*root.glob("compress_gym/**/*.json"), *root.glob("benchmarks/**/*.json")]
    assert len(cards) > 30
    for path in cards:
        for command in re.findall(r'"((?:python|compress-gym) [^"]*)"', path.read_text()):
            assert portable(command) == command, f"{path}: {command}"

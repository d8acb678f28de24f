"""Workers that outlive nobody."""

from __future__ import annotations

import subprocess
import sys

ORPHAN = """
import multiprocessing, os, time
from compress_gym.support.resume import end_with_parent

def late(began):
    began.set()
    while os.getppid() == multiprocessing.parent_process().pid:
        time.sleep(0.01)
    print("alone", flush=True)
    try:
        end_with_parent()
    except BaseException as error:
        print(error, flush=True)
    time.sleep(600)

if __name__ == "__main__":
    spawn = multiprocessing.get_context("spawn")
    began = spawn.Event()
    spawn.Process(target=late, args=(began,)).start()
    began.wait()
    os._exit(0)
"""


def test_a_worker_ends_even_if_its_parent_was_killed_before_it_looked(tmp_path):
    """The worker holds the output open: reading it ends with the worker."""
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "alone\n"

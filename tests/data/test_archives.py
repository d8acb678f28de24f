from __future__ import annotations

import hashlib
import os
import tarfile
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from compress_gym.data import archives, cifar10, load_dataset
from compress_gym.data.archives import ARCHIVES, DATA_VARIABLE, Archive, archive_folder, data_root, fetch, has_archive

BATCHES = [f"data_batch_{n}.bin" for n in range(1, 6)]
FILES = [*BATCHES, "test_batch.bin"]
PER_FILE = 4


def write_archive(folder, rng):
    """Writes small files in CIFAR-10's layout; returns labels and pixels by file."""
    folder.mkdir(parents=True)
    content = {}
    for name in FILES:
        labels = rng.integers(0, 10, size=PER_FILE)
        pixels = rng.integers(0, 256, size=(PER_FILE, 3, 32, 32))
        record = bytearray()
        for label, image in zip(labels, pixels, strict=True):
            record.append(label)
            for colour in image:  # red, green, blue, each row by row
                for row in colour:
                    record += bytes(row.tolist())
        (folder / name).write_bytes(bytes(record))
        content[name] = labels, pixels
    return content


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder that holds a small archive; the registry describes it; the data root is empty and elsewhere."""
    folder = tmp_path / "source" / "cifar-10-batches-bin"
    content = write_archive(folder, np.random.default_rng(0))
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}
    small = Archive("http://localhost:1/nothing.tar.gz", "0" * 32, folder.name, sums, "")
    monkeypatch.setitem(archives.ARCHIVES, "cifar10", small)
    monkeypatch.setattr(cifar10, "TRAIN", 3 * PER_FILE + 2)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "root"))
    return folder, content


DAMAGES = {
    "truncated": (lambda p: p.write_bytes(p.read_bytes()[:-1]), "incomplete or altered"),
    "altered": (lambda p: p.write_bytes(p.read_bytes()[:5000] + b"\0\1" + p.read_bytes()[5002:]), "altered"),
    "longer": (lambda p: p.write_bytes(p.read_bytes() + b"\0"), "altered"),
    "empty": (lambda p: p.write_bytes(b""), "incomplete"),
    "missing": (lambda p: p.unlink(), "the file is missing"),
}
every_damage = pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)


def test_no_data_root_names_the_command(source, tmp_path):
    assert not has_archive("cifar10")
    for read in (lambda: archive_folder("cifar10"), lambda: load_dataset("cifar10")):
        with pytest.raises(FileNotFoundError) as told:
            read()
        words = ("compress-gym data fetch cifar10", "--from DIR", DATA_VARIABLE, str(tmp_path / "root"))
        assert all(word in str(told.value) for word in words)


def test_the_root_is_the_users_data_folder_unless_named(monkeypatch, tmp_path):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    assert data_root().name == "compress_gym"
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert data_root() == tmp_path


@every_damage
@pytest.mark.parametrize("name", ["data_batch_3.bin", "test_batch.bin"])
def test_damaged_files_are_named(source, name, damage, words):
    damage(fetch("cifar10", source[0]) / name)
    for read in (lambda: archive_folder("cifar10"), lambda: load_dataset("cifar10")):
        with pytest.raises(ValueError, match=f"{name}: .*{words}.*fetch it again"):
            read()


@pytest.mark.parametrize("parent", [False, True], ids=["folder", "folder above"])
def test_fetch_copies_from_a_folder(source, tmp_path, parent):
    folder, _ = source
    (folder / "readme.html").write_text("not read by anything")
    target = fetch("cifar10", folder.parent if parent else folder)
    assert target == tmp_path / "root" / folder.name == archive_folder("cifar10") and has_archive("cifar10")
    assert sorted(p.name for p in target.iterdir()) == sorted(FILES)
    assert all((target / name).read_bytes() == (folder / name).read_bytes() for name in FILES)
    assert sorted(p.name for p in target.parent.iterdir()) == [folder.name]
    assert fetch("cifar10", target) == target == fetch("cifar10", target.parent)  # onto itself
    assert archive_folder("cifar10") == target


@every_damage
def test_a_damaged_source_leaves_the_target(source, damage, words):
    folder, _ = source
    target = fetch("cifar10", folder)
    before = {p.name: p.read_bytes() for p in target.iterdir()}
    damage(folder / "data_batch_2.bin")
    with pytest.raises(ValueError, match=f"data_batch_2.bin: .*{words}"):
        fetch("cifar10", folder)
    assert {p.name: p.read_bytes() for p in target.iterdir()} == before
    assert [p.name for p in target.parent.iterdir()] == [target.name]


@every_damage
def test_fetch_mends_a_damaged_target(source, damage, words):
    target = fetch("cifar10", source[0])
    damage(target / "data_batch_5.bin")
    assert fetch("cifar10", source[0]) == target == archive_folder("cifar10")


def test_what_a_killed_fetch_left_is_no_hindrance(source, tmp_path):
    partial_folder = tmp_path / "root" / (source[0].name + ".partial")
    partial_folder.mkdir(parents=True)
    (partial_folder / "data_batch_1.bin").write_bytes(b"half")
    assert not has_archive("cifar10")
    target = fetch("cifar10", source[0])
    assert archive_folder("cifar10") == target and not partial_folder.exists()


def test_wrong_sources_and_names_are_told(source, tmp_path):
    with pytest.raises(ValueError, match=r"nowhere.*data_batch_1.bin: the file is missing"):
        fetch("cifar10", tmp_path / "nowhere")
    with pytest.raises(KeyError, match="Did you mean 'cifar10'"):
        fetch("cifar-10", source[0])


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def publisher(source, tmp_path, monkeypatch):
    """A web server on this machine that offers the small archive as its publishers do."""
    folder, _ = source
    packed = tmp_path / "site" / "cifar-10-binary.tar.gz"
    packed.parent.mkdir()
    with tarfile.open(packed, "w:gz") as file:
        file.add(folder, folder.name)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(packed.parent)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    md5 = hashlib.md5(packed.read_bytes()).hexdigest()
    url = f"http://127.0.0.1:{server.server_port}/{packed.name}"
    monkeypatch.setitem(archives.ARCHIVES, "cifar10", replace(ARCHIVES["cifar10"], url=url, md5=md5))
    yield packed
    server.shutdown()
    server.server_close()
    thread.join()


def test_fetch_downloads(publisher, tmp_path):
    target = fetch("cifar10")
    assert target == archive_folder("cifar10") == tmp_path / "root" / "cifar-10-batches-bin"
    publisher.unlink()
    for path in target.parent.glob("*.tar.gz"):
        path.unlink()
    assert fetch("cifar10") == target  # it is there: nothing is downloaded


@every_damage
def test_a_download_mends_a_damaged_target(publisher, damage, words):
    """What the error for a damaged file advises ("fetch it again") must help."""
    damage(fetch("cifar10") / "data_batch_4.bin")
    assert fetch("cifar10") == archive_folder("cifar10")


def test_an_altered_download_is_refused(publisher):
    target = fetch("cifar10")
    (target / "data_batch_4.bin").write_bytes(b"damaged")
    before = {p.name: p.read_bytes() for p in target.iterdir()}
    for path in target.parent.glob("*.tar.gz"):
        path.unlink()
    publisher.write_bytes(publisher.read_bytes() + b"x")
    with pytest.raises(ValueError, match="cifar-10-binary.tar.gz"):
        fetch("cifar10")
    assert {p.name: p.read_bytes() for p in target.iterdir()} == before


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, None])
def test_links_and_paths_that_lead_elsewhere_are_not_followed(publisher, tmp_path, kind):
    """A file that is read must be a file; a member that is not read is not unpacked, wherever it would go."""
    folder = tmp_path / "source" / "cifar-10-batches-bin"
    with tarfile.open(publisher, "w:gz") as file:
        for name in FILES:
            if name != FILES[0] or kind is None:
                file.add(folder / name, f"{folder.name}/{name}")
        member = tarfile.TarInfo(f"{folder.name}/{FILES[0]}" if kind else "../../evil")
        if kind:
            member.type, member.linkname = kind, "/etc/passwd"
        file.addfile(member)
    md5 = hashlib.md5(publisher.read_bytes()).hexdigest()
    archives.ARCHIVES["cifar10"] = replace(archives.ARCHIVES["cifar10"], md5=md5)
    if kind is None:
        assert fetch("cifar10") == archive_folder("cifar10")
    else:
        with pytest.raises(ValueError, match=f"has no file {folder.name}/{FILES[0]}; remove it"):
            fetch("cifar10")
    assert not list(tmp_path.rglob("evil"))


def test_a_damaged_archive_is_told_in_one_line(publisher):
    publisher.write_bytes(publisher.read_bytes()[:-200])
    md5 = hashlib.md5(publisher.read_bytes()).hexdigest()
    archives.ARCHIVES["cifar10"] = replace(archives.ARCHIVES["cifar10"], md5=md5)
    with pytest.raises(ValueError, match="not readable as an archive.*remove it and fetch it again"):
        fetch("cifar10")


def test_the_reader_returns_what_was_written(source):
    _, content = source
    fetch("cifar10", source[0])
    data = load_dataset("cifar10")
    labels, pixels = (np.concatenate([content[name][k] for name in BATCHES]) for k in (0, 1))
    cut = cifar10.TRAIN
    for part, rows in ((data.train, slice(cut)), (data.validation, slice(cut, None))):
        assert np.array_equal(part.labels, labels[rows]) and np.array_equal(part.pixels, pixels[rows])
        assert part.pixels.dtype == np.uint8 and part.labels.dtype == np.int64
    assert np.array_equal(data.test.labels, content["test_batch.bin"][0])
    assert np.array_equal(data.test.pixels, content["test_batch.bin"][1])
    # normalised by the training pixels alone
    train = pixels[:cut].astype(np.float64)
    assert np.allclose(data.train.mean, train.mean((0, 2, 3))) and np.allclose(data.train.std, train.std((0, 2, 3)))
    for part in (data.train, data.validation, data.test):
        expected = (part.pixels - train.mean((0, 2, 3))[:, None, None]) / train.std((0, 2, 3))[:, None, None]
        assert part.images.dtype == np.float32 and np.allclose(part.images, expected, atol=1e-5)
    assert len({part.digest() for part in (data.train, data.validation, data.test)}) == 3


def test_the_real_splits():
    assert cifar10.TRAIN == 45_000
    if not has_archive("cifar10"):
        pytest.skip(
            f"CIFAR-10 is not in the data root {data_root()} (${DATA_VARIABLE}={os.environ.get(DATA_VARIABLE)})"
        )
    data = load_dataset("cifar10")
    sizes = [len(part.labels) for part in (data.train, data.validation, data.test)]
    assert sizes == [45_000, 5_000, 10_000]
    assert data.train.pixels.shape == (45_000, 3, 32, 32) and data.train.pixels.dtype == np.uint8
    assert np.bincount(data.test.labels).tolist() == [1000] * 10
    assert np.bincount(np.concatenate([data.train.labels, data.validation.labels])).tolist() == [5000] * 10
    # What the literature gives for all 50,000 images; the first 45,000 differ in the fourth digit.
    assert np.allclose(data.train.mean / 255, [0.4914, 0.4822, 0.4465], atol=1e-3)
    assert np.allclose(data.train.std / 255, [0.2470, 0.2435, 0.2616], atol=1e-3)
    assert data.train.labels[:3].tolist() == [6, 9, 9]  # a frog and two trucks


def test_without_a_network_the_other_way_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    monkeypatch.setitem(ARCHIVES, "cifar10", replace(ARCHIVES["cifar10"], url="http://127.0.0.1:9/cifar.tar.gz"))
    with pytest.raises(
        OSError, match="127.0.0.1:9/cifar.tar.gz cannot be downloaded.*data fetch cifar10 --from FOLDER"
    ):
        fetch("cifar10")

"""Multi30k's files and their byte pairs, on a few sentences and on the real ones where they are at hand."""

import gzip
import hashlib
import json
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress_gym.data import archives, multi30k
from compress_gym.data.archives import ARCHIVES, DATA_VARIABLE, archive_folder, fetch, has_archive
from compress_gym.data.vocabulary import END, Vocabulary
from compress_gym.support.cards import write_card
from compress_gym.support.errors import AssetError
from tests.live.translation.small import CORPUS

# A sentence with a line separator in it is one sentence.
SENTENCES = {
    "en": ["A dog\u2028runs.", "Two  cats.", " A tree."],
    "de": ["Ein Hund rennt.", "Zwei Katzen.", "Ein Baum."],
}


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder of small files in the official layout, known to the registry."""
    folder = tmp_path / "source" / "multi30k"
    folder.mkdir(parents=True)
    for name in ARCHIVES["multi30k"].files:
        split, language, _ = name.split(".")
        text = "\n".join(f"{line}{split}" for line in SENTENCES[language]) + "\n"
        (folder / name).write_bytes(gzip.compress(text.encode(), mtime=0))
    register(folder, monkeypatch)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "root"))
    return folder


def register(folder, monkeypatch, url=None):
    digests = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.glob("*.gz")}
    archive = replace(ARCHIVES["multi30k"], files=digests, url=url or ARCHIVES["multi30k"].url)
    monkeypatch.setitem(archives.ARCHIVES, "multi30k", archive)


def test_the_reader_returns_what_was_written(source):
    fetch("multi30k", source)
    corpus = multi30k.load()
    for part, split in ((corpus.train, "train"), (corpus.validation, "val"), (corpus.test, "test_2016_flickr")):
        assert part.source == tuple(f"{line}{split}".strip() for line in SENTENCES["en"])
        assert part.target == tuple(f"{line}{split}" for line in SENTENCES["de"])
    assert len({part.digest() for part in (corpus.train, corpus.validation, corpus.test)}) == 3
    assert corpus.train.take(2).source == corpus.train.source[:2]


def test_missing_and_damaged_files_are_told(source, monkeypatch):
    with pytest.raises(FileNotFoundError, match="compress-gym data fetch multi30k"):
        multi30k.load()
    path = fetch("multi30k", source) / "val.de.gz"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="val.de.gz: incomplete or altered"):
        multi30k.load()
    register(path.parent, monkeypatch)
    with pytest.raises(ValueError, match="val.de.gz: not readable as gzipped UTF-8 text"):
        multi30k.load()
    path.write_bytes(gzip.compress(b"one line\n"))
    register(path.parent, monkeypatch)
    with pytest.raises(ValueError, match="3 English lines and 1 German lines do not pair up"):
        multi30k.load()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_fetch_downloads_file_by_file(source, monkeypatch):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(source)))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        register(source, monkeypatch, f"http://127.0.0.1:{server.server_port}/")
        target = fetch("multi30k")
        assert target == archive_folder("multi30k")
        (target / "val.de.gz").write_bytes(b"damaged")
        before = {path.name: path.read_bytes() for path in target.iterdir()}
        (source / "train.de.gz").write_bytes(b"altered")
        with pytest.raises(ValueError, match="train.de.gz"):
            fetch("multi30k")
        assert {path.name: path.read_bytes() for path in target.iterdir()} == before
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_real_splits():
    if not has_archive("multi30k"):
        pytest.skip(f"Multi30k is not in the data root (${DATA_VARIABLE})")
    corpus = multi30k.load()
    assert [len(part.source) for part in (corpus.train, corpus.validation, corpus.test)] == [29_000, 1_014, 1_000]
    assert corpus.train.source[0] == "Two young, White males are outside near many bushes."
    assert corpus.train.target[0] == "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche."


@pytest.fixture(scope="module")
def vocabulary():
    return Vocabulary.train((*CORPUS.train.source, *CORPUS.train.target), 330)


@settings(max_examples=30)
@given(st.text(min_size=1).map(lambda s: " ".join(s.split())).filter(bool))
def test_any_sentence_survives(vocabulary, sentence):
    (tokens,) = vocabulary.encode([sentence])
    assert tokens[-1] == END and END not in tokens[:-1]
    assert vocabulary.decode([tokens]) == [sentence.strip()]


def test_vocabularies_are_stored_and_checked(vocabulary, tmp_path):
    path = tmp_path / "vocabulary.bpe"
    with pytest.raises(AssetError, match="vocabulary.json: the file is missing"):
        Vocabulary.load(path)
    vocabulary.save(path)
    write_card(path, {})
    again = Vocabulary.load(path)
    assert len(again) == len(vocabulary) and again.encode(["Two dogs"]) == vocabulary.encode(["Two dogs"])
    for damage in ("{}", json.dumps({"version": "1.0"})):
        path.write_text(damage)
        with pytest.raises(AssetError, match="checksum differs"):
            Vocabulary.load(path)
        write_card(path, {})
        with pytest.raises(AssetError, match="not readable as a vocabulary"):
            Vocabulary.load(path)


def test_impossible_vocabularies_are_refused(vocabulary):
    with pytest.raises(ValueError, match="size=258 must be at least 259"):
        Vocabulary.train(["a"], 258)
    with pytest.raises(ValueError, match="sentence 1 is empty"):
        vocabulary.encode(["dog", " "])

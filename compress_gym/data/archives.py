"""Official archives of data sets: where they lie, how they are checked, how they are brought."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

from compress_gym.support.cards import sha256
from compress_gym.support.errors import needing, unknown_name

DATA_VARIABLE = "COMPRESS_GYM_DATA"


@dataclass(frozen=True)
class Archive:
    """One data set's official archive, or folder of files.

    Attributes:
        url: Where its publishers offer it; ends with `/` where they offer the files one by one.
        md5: The publishers' checksum of the download; "" where the files are offered one by one.
        folder: The folder that it unpacks to, or that the files are put into.
        files: SHA-256 of each file that is read, by name.
        terms: What the publishers ask of users.
    """

    url: str
    md5: str
    folder: str
    files: dict[str, str]
    terms: str


ARCHIVES = {
    "cifar10": Archive(
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        md5="c32a1d4ab5d03f1284b67883e8d87530",
        folder="cifar-10-batches-bin",
        files={
            "data_batch_1.bin": "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
            "data_batch_2.bin": "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
            "data_batch_3.bin": "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
            "data_batch_4.bin": "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
            "data_batch_5.bin": "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
            "test_batch.bin": "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
        },
        terms="cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    ),
    "multi30k": Archive(
        url="https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/",
        md5="",
        folder="multi30k",
        files={
            "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
            "train.de.gz": "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
            "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
            "val.de.gz": "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
            "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
            "test_2016_flickr.de.gz": "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
        },
        terms=(
            "for non-commercial research and education; cite Elliott et al., Multi30K: Multilingual English-German "
            "Image Descriptions, 2016"
        ),
    ),
}


def data_root() -> Path:
    """Returns the folder that holds the archives: `$COMPRESS_GYM_DATA`, else the user's data folder."""
    if given := os.environ.get(DATA_VARIABLE):
        return Path(given).expanduser()
    return user_data_path("compress_gym")


def has_archive(name: str) -> bool:
    """Returns whether the data root holds the folder of an archive (its files are checked when read)."""
    return (data_root() / ARCHIVES[name].folder).is_dir()


def archive_folder(name: str) -> Path:
    """Returns the folder of an archive after checking every file in it.

    Raises:
        FileNotFoundError: The archive is not in the data root; the message names the command that brings it.
        ValueError: A file is missing, incomplete or altered.
    """
    archive = ARCHIVES[name]
    folder = data_root() / archive.folder
    if not folder.is_dir():
        raise FileNotFoundError(
            f"data set {name!r} is not at {folder}; bring it with: compress-gym data fetch {name}, or take it from a "
            f"folder with: compress-gym data fetch {name} --from DIR (the root is ${DATA_VARIABLE})"
        )
    check_archive(archive, folder)
    return folder


def check_archive(archive: Archive, folder: Path, remedy: str = "fetch it again") -> None:
    """Checks every file of an archive; errors end with a remedy.

    Raises:
        ValueError: A file is missing, incomplete or altered; the message names it and the remedy.
    """
    for name, expected in archive.files.items():
        path = folder / name
        if not path.is_file():
            raise ValueError(f"{path}: the file is missing, the archive is incomplete; {remedy}")
        found = sha256(path)
        if found != expected:
            raise ValueError(
                f"{path}: incomplete or altered (sha256 {found[:16]}, expected {expected[:16]}, "
                f"{path.stat().st_size:,} bytes); {remedy}"
            )


def _download(name: str, url: str, known_hash: str, folder: Path) -> None:
    with needing("pooch", "live", "downloading a data set"):
        import pooch
    remedy = f"of a copy at hand: compress-gym data fetch {name} --from FOLDER"
    try:
        pooch.retrieve(url, known_hash, fname=url.rpartition("/")[2], path=folder, progressbar=False)
    except OSError as error:
        raise OSError(f"{url} cannot be downloaded ({type(error).__name__}); {remedy}") from error
    except ValueError as error:  # pooch's word for another checksum
        raise ValueError(f"{url}: the download is not what was expected ({error}); try again, or {remedy}") from error


def fetch(name: str, source: Path | None = None) -> Path:
    """Brings an archive into the data root: downloads it unless it is there, or takes it from a folder.

    Args:
        name: Name in `ARCHIVES`.
        source: A folder that holds the archive's files or its folder; `None` downloads.

    Returns:
        The folder of the archive, every file checked.

    Raises:
        KeyError: The name is not known.
        OSError: It cannot be downloaded.
        ValueError: A file is missing, incomplete or altered.
    """
    if name not in ARCHIVES:
        raise unknown_name("data set", name, ARCHIVES)
    return bring(name, ARCHIVES[name], data_root(), source)


def bring(name: str, archive: Archive, root: Path, source: Path | None = None) -> Path:
    """Brings an archive into a folder; arguments and errors as of `fetch`."""
    target = root / archive.folder
    if source is not None:
        folder = source / archive.folder if (source / archive.folder).is_dir() else source
        if folder.resolve() == target.resolve():
            check_archive(archive, folder)
        else:
            _install(archive, folder, target)
    elif not is_complete(archive, target):
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root) as temporary:
            folder = Path(temporary)
            if archive.url.endswith("/"):
                for file, digest in archive.files.items():
                    _download(name, archive.url + file, f"sha256:{digest}", folder)
            else:
                _download(name, archive.url, f"md5:{archive.md5}", root)
                _unpack(root / Path(archive.url).name, archive, folder)
            _install(archive, folder, target)
    return target


def _unpack(path: Path, archive: Archive, folder: Path) -> None:
    """Takes the files that are read out of a tar archive, and nothing else: no link, and no path that leads elsewhere.

    Raises:
        ValueError: One of them is missing or no file, or the archive is damaged.
    """
    try:
        with tarfile.open(path) as members:
            for name in archive.files:
                source = members.extractfile(f"{archive.folder}/{name}") if _is_file(members, archive, name) else None
                if source is None:
                    raise ValueError(f"{path}: has no file {archive.folder}/{name}; remove it and fetch it again")
                with source, (folder / name).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{path}: not readable as an archive ({error}); remove it and fetch it again") from error


def _is_file(members: tarfile.TarFile, archive: Archive, name: str) -> bool:
    try:
        return members.getmember(f"{archive.folder}/{name}").isfile()
    except KeyError:
        return False


def is_complete(archive: Archive, folder: Path) -> bool:
    """Returns whether a folder holds every file of an archive, unaltered."""
    try:
        check_archive(archive, folder)
    except ValueError:
        return False
    return True


def _install(archive: Archive, folder: Path, target: Path) -> None:
    """Copies an archive's files, checked before and after; the old folder stays until then."""
    check_archive(archive, folder)
    partial = target.with_name(target.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for file in archive.files:
        shutil.copyfile(folder / file, partial / file)
    check_archive(archive, partial)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)

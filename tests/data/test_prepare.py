from __future__ import annotations

import hashlib
import io
import re
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from torchvision import datasets as torchvision_datasets
from torchvision.datasets.utils import download_and_extract_archive

from shipclip.data import DATASETS
from shipclip.data import prepare as module
from shipclip.data.prepare import download, main, prepare
from shipclip.data.sources import SOURCES, Archive, Source


def tar_of(**files: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name.replace("__", "/"))
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


class Server(HTTPServer):
    """Serves `files`; breaks off the next answer after `break_after` bytes."""

    files: dict[str, bytes]
    break_after: int | None = None
    ranges: list[str | None]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        content = self.server.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        wanted = self.headers.get("Range")
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
        if body:
            self.server.ranges.append(wanted)
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if body:
            end = None
            if self.headers["User-Agent"] == "ship-clip":  # torchvision asks for redirects first
                end, self.server.break_after = self.server.break_after, None
            self.wfile.write(content[start:end])

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.files, server.ranges = {}, []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def url(server: Server, file: str) -> str:
    return f"http://127.0.0.1:{server.server_port}/{file}"


@pytest.fixture(autouse=True)
def _no_drive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args) -> None:
        raise RuntimeError("gdown is required. Install it")

    monkeypatch.setattr("torchvision.datasets.utils.download_file_from_google_drive", refuse)


def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path):
    content = bytes(range(256)) * 1000
    server.files["a.bin"], server.break_after = content, 100_000
    with pytest.raises(OSError, match="broke|IncompleteRead"):
        download(url(server, "a.bin"), tmp_path / "a.bin")
    assert not (tmp_path / "a.bin").exists() and (tmp_path / "a.bin.part").stat().st_size == 100_000
    download(url(server, "a.bin"), tmp_path / "a.bin")
    assert server.ranges == [None, "bytes=100000-"]
    assert (tmp_path / "a.bin").read_bytes() == content and not (tmp_path / "a.bin.part").exists()


def test_a_part_that_is_the_whole_file_is_taken(server: Server, tmp_path: Path):
    server.files["a.bin"] = b"whole"
    (tmp_path / "a.bin.part").write_bytes(b"whole")
    download(url(server, "a.bin"), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == b"whole"


def source_of(server: Server, content: bytes, checksum: str) -> Source:
    server.files["set.tar.gz"] = content
    archive = Archive(url(server, "set.tar.gz"), checksum, into="set", creates="set/images")
    return Source(
        "set",
        "1 kB",
        "MIT",
        archives=(archive,),
        drive={"split.json": "id"},
        by_hand={"labels": "ask for {folder}/labels"},
    )


def test_an_archive_is_verified_unpacked_and_what_is_left_is_told(server: Server, tmp_path: Path, monkeypatch, capsys):
    content = tar_of(images__a__1__jpg=b"x")
    source = source_of(server, content, f"sha256:{hashlib.sha256(content).hexdigest()}")
    monkeypatch.setitem(SOURCES, "Set", source)
    assert main(["set", "--root", str(tmp_path)]) == 1
    assert (tmp_path / "set" / "images" / "a" / "1" / "jpg").read_bytes() == b"x"
    out = capsys.readouterr().out
    assert f"- ask for {tmp_path}/set/labels" in out
    assert f"- download https://drive.google.com/file/d/id to {tmp_path}/set/split.json" in out
    for name in ("labels", "split.json"):
        (tmp_path / "set" / name).touch()
    assert main(["set", "--root", str(tmp_path)]) == 0
    assert len(server.ranges) == 1  # nothing is fetched twice


def test_what_was_half_unpacked_is_unpacked_again(server: Server, tmp_path: Path, monkeypatch, capsys):
    """A truncated archive without a checksum leaves some of its images behind."""
    whole = tar_of(images__1__jpg=bytes(range(256)) * 400, images__2__jpg=bytes(range(256)) * 400)
    source = source_of(server, whole[: len(whole) // 2], "")
    monkeypatch.setitem(SOURCES, "Set", source)
    assert main(["set", "--root", str(tmp_path)]) == 2
    assert "cannot be unpacked" in capsys.readouterr().err
    server.files["set.tar.gz"] = whole
    (tmp_path / "downloads" / "set.tar.gz").unlink()
    assert main(["set", "--root", str(tmp_path)]) == 1  # labels are left to do
    assert sorted(p.parent.name for p in (tmp_path / "set").rglob("jpg")) == ["1", "2"]
    assert not list((tmp_path / "downloads").glob("*.unfinished"))


def test_an_empty_folder_is_not_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "fgvc_aircraft").mkdir()

    def called(source: Source, root: Path) -> None:
        raise ConnectionError("it would be fetched")

    monkeypatch.setattr(module, "with_torchvision", called)
    with pytest.raises(ConnectionError):
        module.prepare("FGVCAircraft", tmp_path)


def test_a_wrong_checksum_removes_the_file_and_unpacks_nothing(server: Server, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setitem(SOURCES, "Set", source_of(server, tar_of(images=b""), "md5:" + "0" * 32))
    assert main(["set", "--root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "set.tar.gz has md5" in error and "run the command again" in error
    assert not list((tmp_path / "downloads").iterdir()) and not (tmp_path / "set").exists()


@pytest.mark.parametrize("kind", ["tar", "zip", "neither"])
def test_an_archive_cannot_write_elsewhere(kind: str, tmp_path: Path):
    file = tmp_path / "evil"
    if kind == "tar":
        file.write_bytes(tar_of(**{"..__out": b"x"}))
    elif kind == "zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("../out", "x")
    else:
        file.write_bytes(b"no archive")
    if kind == "zip":
        module.unpack(file, tmp_path / "in")
    else:
        with pytest.raises(ValueError, match="cannot be unpacked"):
            module.unpack(file, tmp_path / "in")
    assert not (tmp_path / "out").exists()


def test_torchvision_downloads_and_its_folders_become_coops(server: Server, tmp_path: Path, monkeypatch):
    content = tar_of(pets__images__a__jpg=b"x" * 50_000)
    server.files["pets.tar.gz"], server.break_after = content, 20

    class Pets:
        def __init__(self, root: str, download: bool):
            md5 = hashlib.md5(content).hexdigest()
            download_and_extract_archive(url(server, "pets.tar.gz"), root, md5=md5)

    monkeypatch.setattr(torchvision_datasets, "Pets", Pets, raising=False)
    monkeypatch.setitem(SOURCES, "Pets", Source("my_pets", "", "", torchvision="Pets", moves={"pets/images": "images"}))
    with pytest.raises(ConnectionError, match=r"pets.tar.gz cannot be fetched .*by hand"):
        prepare("Pets", tmp_path)
    assert prepare("Pets", tmp_path) == []
    assert (tmp_path / "my_pets" / "images" / "a" / "jpg").is_file()
    assert server.ranges[-1] == "bytes=20-" and not (tmp_path / "downloads" / "my_pets").exists()


def test_without_a_network_one_sentence_says_what_to_do(tmp_path: Path, monkeypatch, capsys: pytest.CaptureFixture):
    nowhere = Archive("http://127.0.0.1:9/set.tar.gz", "", into="set", creates="set/images")
    monkeypatch.setitem(SOURCES, "Set", Source("set", "", "", archives=(nowhere,)))
    assert main(["set", "--root", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "cannot be fetched" in error
    assert f"put the file at {tmp_path}/downloads/set.tar.gz by hand" in error


def test_an_unknown_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["nothing", "--root", str(tmp_path)]) == 2
    assert "there is no download for the data set nothing; known: AWA2 CUB Caltech101" in capsys.readouterr().err


@pytest.mark.parametrize("name", SOURCES)
def test_every_source_is_complete(name: str):
    source, cls = SOURCES[name], DATASETS.get(name)
    assert source.folder == cls.dataset_dir and source.size and source.licence
    assert hasattr(torchvision_datasets, source.torchvision) if source.torchvision else True
    made = {archive.creates for archive in source.archives}
    made |= {f"{source.folder}/{place}".rstrip("/") for place in (*source.moves.values(), *source.by_hand)}
    wanted = f"{cls.dataset_dir}/{cls.image_dir}".rstrip("/")
    assert any(wanted.startswith(place) or place.startswith(wanted) for place in made)
    assert not cls.split_name or cls.split_name in source.drive
    for archive in source.archives:
        assert re.fullmatch(r"(md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}|)", archive.checksum)


@pytest.mark.skipif(not hasattr(torchvision_datasets.Flowers102, "classes"), reason="newer torchvision has the names")
def test_flowers_get_their_names_from_torchvision(tmp_path: Path):
    SOURCES["OxfordFlowers"].finish(tmp_path)
    assert '"1": "pink primrose"' in (tmp_path / "cat_to_name.json").read_text()

"""The page's server: what it answers, what it refuses, and that it keeps nothing."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import pytest
from PIL import Image
from starlette.testclient import TestClient

import shipclip
from shipclip import cli, demo
from shipclip.demo import desk, server
from shipclip.demo.desk import Desk
from shipclip.errors import UserError
from tests.in_use.conftest import names


@pytest.fixture
def model(chosen_folder: Path) -> shipclip.Classifier:
    return shipclip.load(chosen_folder)


@pytest.fixture
def client(model: shipclip.Classifier) -> TestClient:
    return TestClient(server.application(Desk(model)), base_url="http://127.0.0.1:8000")


def one(photos: Path) -> Path:
    return sorted((photos / "test").rglob("*.png"))[0]


def test_an_image_is_answered_as_predict_does(client: TestClient, model: shipclip.Classifier, photos: Path):
    file = one(photos)
    found, said = model.predict(file)[0], client.post("/api/classify", content=file.read_bytes()).json()
    assert [row["name"] for row in said["top"]] == [name for name, _ in found.top]
    assert [row["probability"] for row in said["top"]] == pytest.approx([p for _, p in found.top], abs=1e-5)
    assert said["unknown"] is found.unknown and len(said["nearest"]) == 4
    assert all(row["image"].startswith("data:image/jpeg;base64,") for row in said["nearest"])


def test_training_images_that_are_gone_have_no_picture(model: shipclip.Classifier, photos: Path, tmp_path: Path):
    client = TestClient(server.application(Desk(model, str(tmp_path))), base_url="http://localhost")
    said = client.post("/api/classify", content=one(photos).read_bytes()).json()
    assert len(said["nearest"]) == 4 and all(row["image"] is None for row in said["nearest"])


def test_a_hostile_models_paths_lead_nowhere(model: shipclip.Classifier, photos: Path, tmp_path: Path):
    """A model's list of training images may name any file: none outside the photographs' folder is shown."""
    inside = tmp_path / "photos"
    inside.mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "secret.png")
    place = Desk(model, str(inside))
    assert place.thumbnail("../secret.png") is None and place.thumbnail(str(tmp_path / "secret.png")) is None
    os.symlink(tmp_path / "secret.png", inside / "link.png")
    assert place.thumbnail("link.png") is None
    Image.new("RGB", (9, 9)).save(inside / "fine.png")
    assert place.thumbnail("fine.png") is not None


def test_classes_change_at_once_and_the_models_folder_does_not(client: TestClient, chosen_folder: Path, photos: Path):
    before = {file.name: file.read_bytes() for file in chosen_folder.iterdir()}
    facts = client.post("/api/classes", content=json.dumps({"add": "octopus"})).json()
    assert facts["classes"][-1] == {"name": "octopus", "images": 0}
    facts = client.post("/api/classes", content=json.dumps({"rename": ["octopus", "squid"]})).json()
    assert facts["classes"][-1]["name"] == "squid"
    client.post("/api/classes", content=json.dumps({"remove": names()[0]}))
    said = client.post("/api/classify", content=one(photos).read_bytes()).json()
    assert names()[0] not in [row["name"] for row in said["top"]]
    assert [row["name"] for row in client.get("/api/model").json()["classes"]] == [*names()[1:8], "squid"]
    assert {file.name: file.read_bytes() for file in chosen_folder.iterdir()} == before


def png(width: int, height: int) -> bytes:
    content = io.BytesIO()
    Image.new("L", (width, height)).save(content, "PNG")
    return content.getvalue()


WRONG = {
    "no image": (b"hello", 400, "this is no image that is read here"),
    "nothing": (b"", 400, "this is no image"),
    "svg": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400, "this is no image"),
    "damaged": (png(300, 300)[:-40], 400, "this image is damaged"),
    "too many pixels": (png(8000, 7000), 400, "8000 x 7000 pixels, and 50 million are the most"),
    "too many bytes": (bytes(server.MOST_BYTES + 1), 413, "this is more than 20,000 kB"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_upload_that_is_no_image_or_too_large_is_one_sentence(wrong: str, client: TestClient):
    content, status, sentence = WRONG[wrong]
    answer = client.post("/api/classify", content=content)
    assert answer.status_code == status and sentence in answer.json()["error"]


def test_no_more_of_a_body_is_read_than_is_allowed(client: TestClient):
    read = []

    def parts():
        for _ in range(100):
            read.append(1)
            yield bytes(1_000_000)

    assert client.post("/api/classify", content=parts()).status_code == 413


CHANGES = {
    "no json": ("{", "no JSON"),
    "nothing": ("{}", "give"),
    "a list": ("[1]", "give"),
    "another": ('{"paint": "red"}', "there is no way to paint"),
    "a number": ('{"add": 3}', "class names are text"),
    "one name": ('{"rename": ["a"]}', "class names are text"),
    "a twin": (json.dumps({"add": "X"}).replace("X", "{twin}"), "have the same name"),
    "empty": ('{"add": " "}', "empty class name"),
    "a reserved name": ('{"add": "unknown"}', "name the class otherwise"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_cannot_be_is_one_sentence_and_changes_nothing(change: str, client: TestClient):
    wish, sentence = CHANGES[change]
    answer = client.post("/api/classes", content=wish.replace("{twin}", names()[0].upper()))
    assert answer.status_code == 400 and sentence in answer.json()["error"]
    assert [row["name"] for row in client.get("/api/model").json()["classes"]] == names()[:8]


def test_other_hosts_and_other_sites_pages_are_refused(client: TestClient):
    """A page on the web may not use the model through its visitor's browser, nor by a name that it points here."""
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert client.get("/", headers={"host": "evil.example:8000"}).status_code == 421
    wish = json.dumps({"add": "octopus"})
    assert client.post("/api/classes", content=wish, headers={"origin": "http://evil.example"}).status_code == 403
    assert client.post("/api/classes", content=wish, headers={"origin": "null"}).status_code == 403
    assert client.post("/api/classes", content=wish, headers={"origin": "http://127.0.0.1:8000"}).status_code == 200


def test_nothing_is_kept_by_browsers_and_no_other_site_is_asked(client: TestClient):
    for path in ("/", "/page.css", "/page.js", "/api/model"):
        answer = client.get(path)
        assert answer.status_code == 200 and answer.headers["cache-control"] == "no-store", path
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    page = client.get("/").text + client.get("/page.js").text + client.get("/page.css").text
    assert "http://" not in page and "https://" not in page
    assert client.get("/../desk.py").status_code == 404 and client.get("/desk.py").status_code == 404


def test_uploads_leave_no_file(client: TestClient, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    client.post("/api/classify", content=one(photos).read_bytes())
    assert list(tmp_path.iterdir()) == []


def test_it_listens_to_this_machine_alone(model: shipclip.Classifier, monkeypatch: pytest.MonkeyPatch):
    addresses = []
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: addresses.extend(s.getsockname() for s in sockets))
    demo.serve(model, port=0)
    assert [address for address, _ in addresses] == ["127.0.0.1"]


def test_a_port_that_is_taken_is_one_sentence(chosen_folder: Path, capsys: pytest.CaptureFixture):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert cli.main(["demo", str(chosen_folder), "--port", str(port)]) == 2
    assert f"port {port} of 127.0.0.1 cannot be taken" in capsys.readouterr().err
    assert cli.main(["demo", str(chosen_folder), "--port", "99999"]) == 2


def test_photographs_that_are_not_where_they_were_are_told(
    model: shipclip.Classifier, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
):
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    demo.serve(model, port=0, photos=str(photos))
    assert "Note" not in capsys.readouterr().out
    demo.serve(model, port=0, photos=str(tmp_path / "gone"))
    assert "the training images are not where they were" in capsys.readouterr().out


def test_a_package_that_is_missing_is_named(model: shipclip.Classifier, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "uvicorn", None)
    with pytest.raises(UserError, match=r"pip install 'ship-clip\[demo\]'"):
        demo.serve(model)


def test_photographs_are_turned_as_their_exif_says():
    image = Image.new("RGB", (4, 2), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    content = io.BytesIO()
    image.save(content, "JPEG", exif=exif)
    assert desk.opened(content.getvalue()).size == (2, 4)

"""Photos in, aligned crops out, over HTTP: every kind of photograph that people hand in, and every way it can go wrong."""

from __future__ import annotations

import ast
import io
import re
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from launcher.client import Client, HttpError, PromptFailed

pytestmark = pytest.mark.host

SAMPLE = Path(__file__).resolve().parents[2] / "assets" / "sample" / "eileen_collins.png"
SETTINGS = {
    "detector": "Built-in", "rotate_photo": False, "retouch": False, "white_background": False, "confidence_filter": False,
    "min_confidence": 0.855, "main_face_ratio": 4.0, "no_face": "Stop",
}  # fmt: skip


@pytest.fixture(scope="module")
def sample() -> Image.Image:
    return Image.open(SAMPLE).convert("RGB")


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def load(folder: str = ".", source: str = "Folder", files=()) -> dict:
    return node("FaceChain_LoadPhotos", source=source, folder=folder, files="\n".join(files))


def align(folder: str, **changes) -> dict:
    """Load a folder, align, and show crops, faces and the report."""
    return {
        "1": load(folder),
        "2": node("FaceChain_FaceAlign", images=["1", 0], names=["1", 1], **{**SETTINGS, **changes}),
        "3": node("PreviewImage", images=["2", 0]),
        "4": node("PreviewAny", source=["2", 1]),
        "5": node("PreviewAny", source=["2", 2]),
    }


@pytest.fixture
def photos(client: Client, tmp_path):
    """`photos("anna", a=picture)` uploads pictures as anna/a.png and gives the folder's name."""

    def upload(folder: str, suffix: str = ".png", **pictures) -> str:
        for name, picture in pictures.items():
            file = tmp_path / f"{name}{suffix}"
            file.write_bytes(picture) if isinstance(picture, bytes) else picture.save(file)
            client.upload(file, subfolder=folder)
        return folder

    return upload


def shown(client: Client, entry: dict, number: str) -> list[np.ndarray]:
    return [np.asarray(Image.open(io.BytesIO(client.view(one))).convert("RGB")) for one in entry["outputs"][number]["images"]]


def rows(entry: dict, number: str = "2") -> dict[str, dict]:
    return {row["name"]: row for row in entry["outputs"][number]["report"][0]["rows"]}


def transforms(entry: dict) -> list[np.ndarray]:
    """The crop transforms in the printed FACECHAIN_FACES, picture -> crop."""
    printed = entry["outputs"]["4"]["text"][0]
    found = re.findall(r"crop_transform=array\((\[\[.*?\]\])\)", printed.replace("\n", ""))
    return [np.array(ast.literal_eval(one)) for one in found]


def cut_by_pillow(picture: Image.Image, matrix: np.ndarray) -> np.ndarray:
    """The crop that `matrix` describes, sampled by Pillow on a white ground."""
    edge = 2000
    ground = Image.new("RGB", (picture.width + 2 * edge, picture.height + 2 * edge), "white")
    ground.paste(picture, (edge, edge))
    back = np.linalg.inv(matrix)
    # Pillow counts from the corners of pixels, the matrix from their centres
    back[:2, 2] += back[:2, :2] @ [-0.5, -0.5] + 0.5 + edge
    return np.asarray(ground.transform((512, 512), Image.Transform.AFFINE, tuple(back[:2].ravel()), Image.Resampling.BILINEAR))


def test_crops_are_those_of_an_independent_crop(client, photos, sample):
    """Three sizes and angles in one run; every pixel against Pillow's, from the transform that FACECHAIN_FACES carries."""
    pictures = {"a": sample, "b": sample.rotate(20, expand=True, fillcolor="white"), "c": sample.resize((700, 700))}
    entry = client.run(align(photos("independent", **pictures)))
    crops, matrices = shown(client, entry, "3"), transforms(entry)
    assert len(crops) == len(matrices) == 3 and {crop.shape for crop in crops} == {(512, 512, 3)}
    for picture, crop, matrix in zip(pictures.values(), crops, matrices):
        assert np.abs(cut_by_pillow(picture, matrix).astype(int) - crop).mean() < 1
    turned = [row["values"]["turned"] for row in rows(entry).values()]
    assert abs(turned[1] - turned[0] - 20) < 4 and abs(turned[2] - turned[0]) < 3
    differences = [np.abs(crops[0].astype(int) - crop).mean() for crop in crops[1:]]
    assert max(differences) < 30, "the same face lies elsewhere in the three crops"


def test_natural_order_and_names(client, photos, sample):
    pictures = {name: sample.resize((size, size)) for name, size in (("p10", 400), ("p2", 300), ("p1", 350))}
    entry = client.run(align(photos("order", **pictures)))
    assert list(rows(entry)) == ["p1.png", "p2.png", "p10.png"]
    assert [row["values"]["width"] for row in rows(entry, "1").values()] == [350, 300, 400]
    text = entry["outputs"]["5"]["text"][0]
    assert (
        text.startswith("3 of 3 photos aligned\n3 of 3 crops of 512 pixels are enlarged, up to 2.1 times") and "\np1.png  aligned" in text
    )


def wall(size=(300, 200)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(5).integers(90, 130, (*size[::-1], 3), np.uint8))


def two_people(sample: Image.Image) -> Image.Image:
    group = Image.new("RGB", (1024, 512), "white")
    group.paste(sample, (0, 0))
    group.paste(sample.transpose(Image.Transpose.FLIP_LEFT_RIGHT), (512, 0))
    return group


def test_stop_names_the_photos_and_the_server_goes_on(client, photos, sample):
    folder = photos("stop", wall=wall(), me=sample, group=two_people(sample))
    with pytest.raises(PromptFailed) as stopped:
        client.run(align(folder))
    assert stopped.value.node_type == "FaceChain_FaceAlign"
    assert "group.png: 2 faces were found" in stopped.value.exception and "wall.png: no face was found" in stopped.value.exception
    assert "me.png" not in stopped.value.exception
    entry = client.run(align(folder, no_face="Skip"))
    assert len(shown(client, entry, "3")) == 1
    assert {name: row["status"] for name, row in rows(entry).items()} == {
        "group.png": "rejected", "me.png": "aligned", "wall.png": "rejected",
    }  # fmt: skip


def test_pass_through_keeps_every_place(client, photos, sample):
    entry = client.run(align(photos("pass", a=wall(), b=sample, c=wall((50, 90))), no_face="Pass through"))
    crops = shown(client, entry, "3")
    assert len(crops) == 3 and [row["status"] for row in rows(entry).values()] == ["passed through", "aligned", "passed through"]
    assert (crops[0][:80] == 255).all() and (crops[2][:, :100] == 255).all() and abs(int(crops[0][256, 256, 0]) - 110) < 30


def test_photos_of_every_kind(client, photos, sample):
    """A tilted and a sideways photo, EXIF, grey, alpha, a face at the border, one of 20 pixels, 12 megapixels: all found."""
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = io.BytesIO()
    sample.rotate(90, expand=True).save(turned, "PNG", exif=exif)
    ground = Image.new("RGB", (4000, 3000), "grey")
    ground.paste(sample.resize((2800, 2800)), (600, 200))
    pictures = {
        "alpha": sample.convert("RGBA"), "border": sample.crop((170, 0, 512, 512)), "exif": turned.getvalue(),
        "grey": sample.convert("L"), "large": ground, "sideways": sample.rotate(90, expand=True), "small": sample.resize((120, 120)),
    }  # fmt: skip
    entry = client.run(align(photos("kinds", **pictures)))
    found = rows(entry)
    assert {name: row["status"] for name, row in found.items()} == {f"{name}.png": "aligned" for name in pictures}
    turned = {name.split(".")[0]: row["values"]["turned"] for name, row in found.items()}
    assert abs(turned["exif"]) < 12 and 75 < turned["sideways"] < 105
    assert 18 < found["small.png"]["values"]["face_px"] < 32 and found["large.png"]["values"]["face_px"] > 400
    upright = dict(zip(sorted(pictures), shown(client, entry, "3")))
    for name in ("sideways", "large", "exif", "alpha"):
        same = np.abs(upright["grey"].mean(-1) - upright[name].mean(-1))[100:400, 150:350].mean()
        assert same < 35, f"the face in {name} lies elsewhere or another way up"


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (3, 2)])
def test_photos_too_small_for_a_face(client, photos, size):
    folder = photos(f"tiny{size[0]}x{size[1]}", dot=Image.new("RGB", size, "white"))
    with pytest.raises(PromptFailed, match="dot.png: no face was found"):
        client.run(align(folder))
    assert len(shown(client, client.run(align(folder, no_face="Pass through")), "3")) == 1


def test_files_that_are_no_pictures_are_named(client, photos, sample):
    folder = photos("broken", good=sample, half=SAMPLE.read_bytes()[:3000])
    photos("broken", suffix=".jpg", text=b"no picture at all")
    entry = client.run(align(folder))
    assert {name: row["status"] for name, row in rows(entry, "1").items()} == {
        "good.png": "loaded", "half.png": "not read", "text.jpg": "not read",
    }  # fmt: skip
    with pytest.raises(PromptFailed, match="None of the 1 files can be read"):
        client.run(align(photos("worthless", suffix=".jpg", text=b"no picture")))


def test_only_the_changed_folder_runs_again(client, photos, sample):
    folder = photos("again", a=sample)
    client.run(align(folder))
    assert cached(client.run(align(folder))) >= {"1", "2"}
    photos("again", b=sample.resize((300, 300)))
    entry = client.run(align(folder))
    assert not cached(entry) & {"1", "2"} and len(shown(client, entry, "3")) == 2


def cached(entry: dict) -> set[str]:
    return {name for kind, data in entry["status"]["messages"] if kind == "execution_cached" for name in data["nodes"]}


@pytest.mark.parametrize("folder", ["../", "/etc", "a/../../..", "nowhere", "a\0b"])
def test_folders_outside_are_refused_before_anything_runs(client, folder):
    with pytest.raises(HttpError) as refused:
        client.queue(align(folder))
    assert refused.value.status == 400
    details = [error["details"] for error in refused.value.body["node_errors"]["1"]["errors"]]
    assert any("input folder" in text or "There is no folder" in text for text in details)


def test_files_and_the_sample(client, photos, sample):
    photos("chosen", x=sample, y=sample.resize((256, 256)))
    graph = align(".")
    graph["1"] = load(source="Files", files=["chosen/y.png", "chosen/x.png"])
    assert list(rows(client.run(graph), "1")) == ["y.png", "x.png"]
    graph["1"] = load(source="Sample photo")
    assert list(rows(client.run(graph), "1")) == [SAMPLE.name]
    graph["1"] = load(source="Files", files=["../secret.png"])
    with pytest.raises(HttpError, match="not inside the input folder"):
        client.queue(graph)


@pytest.fixture
def no_weights(server):
    """What other tests put into the folder of stand-ins is out of sight."""
    folder = server.base / "models" / "facechain_stand_ins"
    hidden = folder.with_name("hidden")
    if folder.is_dir():
        folder.rename(hidden)
    yield
    if hidden.is_dir():
        hidden.rename(folder)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    "switch, file",
    [("rotate_photo", "rot_bgr"), ("retouch", "skin_unet"), ("white_background", "m2fp"), ("confidence_filter", "flcm")],
)
def test_a_stage_without_its_weights_names_the_file(client, photos, sample, switch, file):
    with pytest.raises(PromptFailed, match=f"python run.py models get {file}"):
        client.run(align(photos("stages", me=sample), **{switch: True}))


@pytest.mark.usefixtures("no_weights")
def test_the_detector_without_weights_and_landmarks_without_a_node(client, photos, sample):
    folder = photos("detectors", me=sample)
    with pytest.raises(PromptFailed, match="python run.py models get damofd"):
        client.run(align(folder, detector="DamoFD"))
    with pytest.raises(PromptFailed, match="nothing is connected to landmarks"):
        client.run(align(folder, detector="MediaPipe landmarks"))


@pytest.mark.slow
def test_all_stages_run_on_stand_ins_and_say_so(client, photos, sample, stand_in):
    """Random networks see nothing in particular: whatever they decide, every photo is accounted for and nothing is called real."""
    files = ("rot_bgr", "skin_unet", "skin_mask", "retinaface", "m2fp", "flcm", "damofd")
    for name in files:
        stand_in(name)
    stages = {"rotate_photo": True, "retouch": True, "white_background": True, "confidence_filter": True}
    folder = photos("stand_ins", a=sample.resize((200, 200)), b=sample)
    entry = client.run(align(folder, detector="DamoFD", no_face="Pass through", main_face_ratio=1.0, min_confidence=0.0, **stages))
    (report,) = entry["outputs"]["2"]["report"]
    assert set(report["stand_ins"]) >= {"rot_bgr", "m2fp", "flcm"} and any("STAND-IN" in note for note in report["notes"])
    kept = [row for row in report["rows"] if row["status"] != "rejected"]
    assert len(report["rows"]) == 2 and all(row["reason"] for row in report["rows"] if row["status"] != "aligned")
    assert len(shown(client, entry, "3")) == len(kept)


def test_stop_ends_the_search_between_two_photos(client, photos, sample):
    pictures = {f"p{number}": sample.resize((500 + number, 500)) for number in range(40)}
    prompt = client.queue(align(photos("interrupted", **pictures)))
    while prompt not in client.running():
        time.sleep(0.05)
    time.sleep(1)
    client.interrupt()
    start = time.monotonic()
    with pytest.raises(PromptFailed) as stopped:
        client.wait(prompt, timeout=300)
    assert stopped.value.interrupted and time.monotonic() - start < 30
    assert client.run(align(photos("afterwards", me=sample)))["status"]["completed"]


def test_unequal_names_are_refused(client, photos, sample):
    graph = align(photos("names", a=sample, b=sample.resize((300, 300))))
    graph["2"]["inputs"]["names"] = "one name"
    with pytest.raises(PromptFailed, match="names has 1 and images has 2 entries"):
        client.run(graph)


def crop_and_stitch(folder: str, edit: dict, pick: dict | None = None) -> dict:
    choice = {"order": "Left to right", "first": 1, "count": 0, "min_size": 0, "max_size": 0, "min_likeness": -1.0, "detector": "Built-in"}
    return {
        "1": load(folder),
        "2": node("FaceChain_FindFaces", images=["1", 0], names=["1", 1], detector="Built-in", no_face="Skip"),
        "3": node("FaceChain_PickFaces", faces=["2", 0], no_face="Skip", **{**choice, **(pick or {})}),
        "4": node("FaceChain_CropFaces", images=["1", 0], faces=["3", 0], size=256, face_share=0.5, upright=True),
        "5": edit,
        "6": node("FaceChain_StitchFaces", images=["1", 0], crops=["5", 0], faces=["4", 1], feather=0.1),
        "7": node("PreviewImage", images=["6", 0]),
        "8": node("PreviewAny", source=["2", 1]),
    }


INVERT = node("ImageInvert", image=["4", 0])


def test_one_of_two_people_is_edited_and_all_else_stays(client, photos, sample):
    """The second from the left; every pixel outside its crop is bit-identical, and so are the pictures without a face."""
    group, bare = two_people(sample), wall()
    entry = client.run(crop_and_stitch(photos("group", group=group, wall=bare), INVERT, {"first": 2, "count": 1}))
    stitched, untouched = shown(client, entry, "7")
    assert (untouched == np.asarray(bare)).all()
    changed = (stitched != np.asarray(group)).any(-1)
    assert 0.01 < changed.mean() < 0.4 and np.flatnonzero(changed.any(0)).min() > 512
    assert [row["status"] for row in rows(entry, "6").values()] == ["stitched", "unchanged"]
    frames = ast.literal_eval(entry["outputs"]["8"]["text"][0])
    assert [len(frame) for frame in frames] == [2, 0] and set(frames[0][0]) == {"x", "y", "width", "height", "label", "score"}


def test_mirroring_the_picture_keeps_who_is_edited(client, photos, sample):
    """Left to right in one picture is right to left in its mirror image: the same person changes."""
    group = two_people(sample)
    mirrored = group.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    one = client.run(crop_and_stitch(photos("one", group=group), INVERT, {"count": 1}))
    other = client.run(crop_and_stitch(photos("other", group=mirrored), INVERT, {"count": 1, "order": "Right to left"}))
    first, second = shown(client, one, "7")[0], shown(client, other, "7")[0][:, ::-1]
    assert np.abs(first.astype(int) - second).mean() < 2


def test_crops_that_come_back_as_they_were_change_no_bit(client, photos, sample):
    graph = crop_and_stitch(photos("same", group=two_people(sample)), node("ImageCrop", image=["4", 0], width=256, height=256, x=0, y=0))
    (stitched,) = shown(client, client.run(graph), "7")
    assert (stitched == np.asarray(two_people(sample))).all()


def test_no_face_to_crop_and_faces_of_other_pictures(client, photos, sample):
    with pytest.raises(PromptFailed, match="no face to crop in 1 pictures"):
        client.run(crop_and_stitch(photos("bare", wall=wall()), INVERT))
    graph = crop_and_stitch(photos("mixed", me=sample), INVERT)
    graph["9"] = node("EmptyImage", width=64, height=64, batch_size=1, color=0)
    graph["4"]["inputs"]["images"] = ["9", 0]
    with pytest.raises(PromptFailed, match="found in 512x512, this picture is 64x64"):
        client.run(graph)


def test_thumbnails_over_http(client, photos):
    shown = client.post("/facechain/photos", {"source": "Sample photo", "folder": ".", "files": ""})
    assert shown["total"] == 1 and shown["photos"][0]["picture"].startswith("data:image/jpeg;base64,")
    for body in ({"source": "Files", "files": "../secret.png"}, {"source": "Folder", "folder": "/etc"}, {"source": 3}, {}):
        with pytest.raises(HttpError) as refusal:
            client.post("/facechain/photos", body)
        assert refusal.value.status == 400

"""Whole clips on narrow networks: files, lengths, interruptions, memory that runs out."""

from __future__ import annotations

import hashlib

import av
import comfy.model_management
import numpy as np
import pytest
import torch

from facechain_impl import provenance
from facechain_impl.errors import BadInput, FaceNotFound
from facechain_impl.talking import pipeline, talk
from facechain_impl.talking.crop import Mode
from facechain_impl.talking.faces import FaceFinder, Order
from facechain_impl.talking.motion import Motion
from facechain_impl.talking.video import frames_at
from facechain_impl.types import Face, Faces, NoFace, Picture, digest_of

from .conftest import portrait_of, tone

FRAME = 1 / 25


@pytest.fixture(autouse=True)
def temp(tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline.folders, "temp_folder", lambda: tmp_path)
    return tmp_path


def picture(width: int = 192, height: int = 231) -> torch.Tensor:
    return torch.from_numpy(portrait_of(width, height).pixels)[None].float() / 255


def known(image: torch.Tensor, count: int = 1) -> Faces:
    width, height = image.shape[2], image.shape[1]
    faces = []
    for index in range(count):
        five = np.array([(-1, 0), (1, 0), (0.1, 1.1), (-0.8, 2.0), (0.9, 1.95)]) * (width * 0.12 / (index + 1)) + [width / 2, height * 0.4]
        low, high = five.min(0) - width * 0.1, five.max(0) + width * 0.1
        faces.append(Face(np.array([*low, *high], np.float32), 0.9, five.astype(np.float32)))
    return Faces([Picture(faces, tuple(image.shape[1:3]), digest_of(image[0]))])


@pytest.fixture
def scene(sadtalker):
    def make(audio, mode=Mode.CROP, image=None, count=1, number=1, policy=NoFace.STOP) -> talk.Scene:
        image = picture() if image is None else image
        finder = FaceFinder("Built-in", "five points", known(image, count), Order.LARGEST, number)
        return talk.Scene(image[0], audio, sadtalker(mode), finder, policy)

    return make


def run(scene: talk.Scene, motion: Motion | None = None, **output) -> pipeline.Clip:
    progress = talk.progress_for(scene.driver, scene.speech)
    subject = scene.subject()
    plan = scene.plan(subject, motion or Motion(), None, progress)
    return scene.clip(subject, plan, talk.Output(**output), progress)


def sound(seconds: float, rate: int = 16000, channels: int = 1) -> dict:
    return {"waveform": tone(seconds, rate, channels), "sample_rate": rate}


def opened(clip: pipeline.Clip) -> dict:
    with av.open(str(clip.path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        found = {
            "codecs": (video.codec_context.name, audio.codec_context.name),
            "size": (video.width, video.height),
            "rate": audio.rate,
            "channels": audio.channels,
            "fps": video.average_rate,
            "audio": float(audio.duration * audio.time_base),
            "video": float(video.duration * video.time_base),
        }
        return found | {"frames": sum(1 for _ in container.decode(video))}


@pytest.mark.parametrize("mode", list(Mode))
def test_modes(scene, mode):
    clip = run(scene(sound(0.12), mode))
    found = opened(clip)
    width, height = clip.size
    assert found["frames"] == clip.count == 3 and found["fps"] == 25 and found["codecs"] == ("h264", "aac")
    assert found["size"] == (width + width % 2, height + height % 2)
    assert (width, height) == (192, 231) if mode.pastes else width == 256


@pytest.mark.parametrize(("rate", "channels"), [(8000, 1), (16000, 2), (44100, 2), (48000, 1)])
def test_sound_keeps_its_rate_and_length(scene, rate, channels):
    found = opened(run(scene(sound(0.5, rate, channels))))
    assert found["rate"] == rate and found["channels"] == channels and found["frames"] == 12
    assert abs(found["audio"] - found["video"]) <= FRAME and abs(found["video"] - 12 * FRAME) < 1e-6


def test_odd_rates_and_many_channels_are_told(scene):
    clip = run(scene(sound(0.2, 10000, 6)))
    assert opened(clip)["rate"] == 11025 and opened(clip)["channels"] == 1
    assert len(clip.notes) == 2 and "10000" in clip.notes[1]


@pytest.mark.parametrize("seconds", [1 / 16000, 0.04, 0.08])
def test_shortest_clips(scene, seconds):
    assert opened(run(scene(sound(seconds))))["frames"] == max(1, int(seconds * 25))


def test_silence(scene):
    found = opened(run(scene({"waveform": torch.zeros(1, 1, 3200), "sample_rate": 16000})))
    assert found["frames"] == 5 and abs(found["audio"] - 0.2) <= FRAME


def test_same_seed_same_file(scene):
    digests = {hashlib.sha256(run(scene(sound(0.2)), Motion(seed=seed)).path.read_bytes()).hexdigest() for seed in (4, 4)}
    assert len(digests) == 1
    other = run(scene(sound(0.2)), Motion(seed=5))
    assert hashlib.sha256(other.path.read_bytes()).hexdigest() not in digests


def test_frames_on_request(scene):
    assert run(scene(sound(0.12))).frames is None
    clip = run(scene(sound(0.12)), keep=True, batch=2)
    assert clip.frames.shape == (3, clip.size[1], 256, 3) and clip.frames.min() >= 0 and clip.frames.max() <= 1
    assert (clip.frames[0] - clip.frames[2]).abs().max() > 0.02


def test_interruption_leaves_no_file(scene, temp, monkeypatch):
    steps = []
    stop = pipeline.Progress.step

    def step(self, preview=None, count=1):
        if preview is not None:
            steps.append(count)
            comfy.model_management.interrupt_current_processing()
        stop(self, preview, count)

    monkeypatch.setattr(pipeline.Progress, "step", step)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(scene(sound(0.4)), batch=2)
    assert steps == [2] and list(temp.iterdir()) == []


def test_errors_leave_no_file(scene, temp, monkeypatch):
    monkeypatch.setattr(pipeline, "finished_size", lambda aspect, side: (256, 999999999))
    with pytest.raises(Exception):  # noqa: B017 - whatever the encoder says about the size
        run(scene(sound(0.12)))
    assert list(temp.iterdir()) == []


def test_out_of_memory_halves_the_batch(scene, monkeypatch, caplog):
    made = scene(sound(0.4))
    network = made.driver.renderer.generator.network
    sizes, draw = [], type(network).forward

    def limited(self, source, points):
        sizes.append(len(points))
        if len(points) > 2:
            raise torch.cuda.OutOfMemoryError("no more")
        return draw(self, source, points)

    monkeypatch.setattr(type(network), "forward", limited)
    assert opened(run(made, batch=8))["frames"] == 10
    assert sizes == [8, 4, 2, 2, 2, 2, 2] and "2 frames" in caplog.text


def test_out_of_memory_with_one_frame_is_an_error(scene, monkeypatch):
    made = scene(sound(0.12))

    def never(self, source, points):
        raise torch.cuda.OutOfMemoryError("no more")

    monkeypatch.setattr(type(made.driver.renderer.generator.network), "forward", never)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        run(made, batch=2)


def test_no_face(scene, temp):
    image = picture()
    with pytest.raises(FaceNotFound, match="fewer than 2 faces"):
        scene(sound(0.2), number=2)
    skipped = scene(sound(0.2), number=2, policy=NoFace.SKIP)
    assert skipped.without_face(NoFace.SKIP, talk.Output()) is None and skipped.report.rows[0].status == "skipped"
    passed = scene(sound(0.2), number=2, policy=NoFace.PASS, image=image)
    clip = passed.without_face(NoFace.PASS, talk.Output(keep=True))
    assert opened(clip)["frames"] == 5 and (clip.frames - image).abs().max() < 1 / 255


def test_which_face(scene):
    first, second = (scene(sound(0.2), count=2, number=number).portrait for number in (1, 2))
    assert np.ptp(first.landmarks[:, 0]) > 1.5 * np.ptp(second.landmarks[:, 0])


def test_report(scene):
    with provenance.recording():
        made = scene(sound(0.2))
        run(made)
    text = made.report.text()
    assert "five points" in text and "sadtalker_256.generator" in made.report.record.stand_ins and "5" in text


def test_plan_of_another_recording_is_refused(scene):
    short, long = scene(sound(0.2)), scene(sound(0.4))
    plan = short.plan(short.subject(), Motion(), None, talk.progress_for(short.driver, short.speech))
    with pytest.raises(BadInput, match="5 frames, the audio has 10"):
        long.clip(long.subject(), plan, talk.Output(), talk.Progress(10))


def test_several_pictures_are_refused():
    with pytest.raises(BadInput, match="2 pictures"):
        talk.one_picture(torch.zeros(2, 8, 8, 3))


def test_angles():
    assert talk.angles(" 0, 20 -20.5", "yaw") == (0.0, 20.0, -20.5) and talk.angles("", "yaw") == ()
    with pytest.raises(BadInput, match="yaw"):
        talk.angles("left", "yaw")


def reference_video(path, fps: int, seconds: float = 0.4):
    """Brightness tells the time."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("h264", rate=fps, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for index in range(round(seconds * fps)):
            level = round(20 + 200 * index / fps / seconds)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((64, 64, 3), level, np.uint8), format="rgb24")))
        container.mux(stream.encode())
    return str(path)


@pytest.mark.parametrize("fps", [10, 24, 25, 30, 50])
def test_videos_are_read_at_25_frames_a_second(tmp_path, fps):
    levels = [float(frame.mean()) for frame in frames_at(reference_video(tmp_path / "reference.mp4", fps))]
    expected = 20 + 200 * np.arange(10) / 25 / 0.4
    assert len(levels) == 10 and np.abs(np.array(levels) - expected).max() <= 200 / fps / 0.4 + 5


def test_reference_motion(scene, tmp_path, monkeypatch):
    made = scene(sound(0.2))
    path = reference_video(tmp_path / "reference.mp4", 30)
    seen = iter([portrait_of(64, 64, 0.12), portrait_of(256, 256, 0.2), None, *[portrait_of(256, 256, 0.21)] * 9])
    finder = FaceFinder("Built-in", "five points")
    monkeypatch.setattr(finder, "portrait", lambda image: next(seen))
    rows = made.driver.reference(path, finder, 4)
    assert rows.shape == (4, 70) and torch.equal(rows[0], rows[1]) and not torch.equal(rows[1], rows[2])


def test_reference_without_a_face(scene, tmp_path):
    made = scene(sound(0.2))
    with pytest.raises(BadInput, match="first frame"):
        made.driver.reference(reference_video(tmp_path / "reference.mp4", 25), FaceFinder("Built-in", "five points"), 4)


def test_corrupt_reference(tmp_path):
    path = tmp_path / "reference.mp4"
    path.write_bytes(b"not a video" * 100)
    with pytest.raises(BadInput, match="reference video"):
        list(frames_at(str(path)))

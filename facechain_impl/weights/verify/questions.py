"""What cannot be known without the published files, and where in them the answer is."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from ...errors import WeightsError
from ...networks.sources import FACT_REPO, FUSION_REPO, PORTRAIT_REPO, SKIN_REPO
from .. import download, files

LONGEST = 4000
CODE, SETTINGS = "*.py", "configuration.json"
SKIN, FUSION = SKIN_REPO[0], FUSION_REPO[0]
MAJIC = "MAILAND/majicmixRealistic_v6"


@dataclass(frozen=True)
class Question:
    """sources: (repository, revision). patterns: files to read there. words: only lines with one of them are quoted, all if none."""

    text: str
    sources: tuple[tuple[str, str], ...]
    patterns: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    def answer(self, folder: Path) -> list[str]:
        """Lines of evidence; unreadable sources are named. Files are downloaded below `folder` and never run."""
        lines = []
        for repo, revision in self.sources:
            try:
                lines += self._evidence(repo, revision, folder / repo.replace("/", "--") / revision)
            except WeightsError as error:
                lines.append(f"{repo} {revision}: {error}")
        return lines

    def _evidence(self, repo: str, revision: str, folder: Path) -> list[str]:
        there = download.listing(repo, revision)
        names = [name for name in there if any(fnmatch(name, pattern) for pattern in self.patterns)]
        lines = [f"{repo} {revision}: {len(there)} files: {', '.join(sorted(there)[:60])}"]
        if names:
            download.snapshot(repo, revision, names, folder)
        for path in (folder / name for name in names):
            lines += [f"{repo} {revision} {path.relative_to(folder)} sha256 {files.sha256(path)}", *quoted(path, self.words)]
        return lines


def quoted(path: Path, words: tuple[str, ...]) -> list[str]:
    """Lines of a text file that hold one of `words`, or its beginning."""
    text = path.read_text("utf-8", errors="replace")
    if not words:
        return [f"    {line}" for line in text[:LONGEST].splitlines()]
    rows = enumerate(text.splitlines(), 1)
    return [f"    {number}: {line.strip()[:160]}" for number, line in rows if any(word in line.lower() for word in words)][:80]


QUESTIONS = (
    Question(
        "Skin retouch: which files and detector does its own code use, at which strength, and what changed between the revisions?",
        ((SKIN, "v1.0.1"), (SKIN, "v1.0.1.1")), (CODE, SETTINGS), ("degree", "pipeline(", "thresh", "local", "onnx", "output_img"),
    ),
    Question(
        "Face fusion: which files and detector does its own code use, in which order and colours, and what happens without a face?",
        ((FUSION, "v1.0.3"), (FUSION, "v1.0.5")), (CODE, SETTINGS),
        ("pipeline(", "detect", "user", "template", "bgr", "rgb", "is none", "68"),
    ),
    Question(
        "M2FP: how many queries and decoder layers, which num_parsing, which order of classes?",
        (("damo/cv_resnet101_image-multiple-human-parsing", "v1.0.1"),), (SETTINGS,),
    ),
    Question(
        "DamoFD: is the shipped configuration that of the 0.5G network, with suppression at 0.45?",
        (("damo/cv_ddsar_face-detection_iclr23-damofd", "v1.1"),), (CODE, SETTINGS),
        ("nms", "score_thr", "super", "strides", "to_rgb", "mean"),
    ),
    Question(
        "RTS: which alpha, and is the uncertainty that of RTS+?",
        (("damo/cv_ir_face-recognition-ood_rts", "v2.5"),), (SETTINGS,),
    ),
    Question(
        "FACT: are ln.* in the file, in which precision, and are all alphas different from zero? See tensors and run of the adapters.",
        (FACT_REPO,),
    ),
    Question(
        "Common face LoRA: how are its keys named? See the tensors of face_frombase_c4.",
        (("damo/face_frombase_c4", "v1.0.0"),), (SETTINGS,),
    ),
    Question(
        "Which canny ControlNet is contronet-canny?",
        (("ly261666/cv_wanx_style_model", "v1.0.3"),), ("contronet-canny/*.json", "contronet-canny/*.md"),
    ),
    Question(
        "Style LoRAs: which rank and alpha, and a part for the text encoder? See the tensors of style_id_photo and style_inpaint.",
        (("Cherrytest/zjz_mj_jiyi_small_addtxt_fromleo", "v1.0.0"),),
    ),
    Question(
        "Which scheduler do the base models name?",
        ((PORTRAIT_REPO, "v2.0"), (MAJIC, "v1.0.0")), ("*/scheduler_config.json", "*/model_index.json"),
    ),
    Question(
        "Where are the base models now?",
        ((PORTRAIT_REPO, "v2.0"), (PORTRAIT_REPO, "v4.0"), (MAJIC, "v1.0.0")),
    ),
)  # fmt: skip

"""What a training teaches the pocket model, by a measure that is no training loss (bench/_likeness.py).

identity: portraits with a person's LoRA against everybody's photos and against the untrained model, at the same seeds.
rivals: our trainer, diffusers with peft, and the host's TrainLoraNode: likeness at 25, 50 and 100 % of the steps.
inpaint: two-stage inpainting of one person into a painting, and of two into a picture of two.
judge: which step the judge of a training takes, with the measure as its scorer.

Each section in a process of its own, on the GPU where there is one. Exits with 1 where a goal is missed.
`python run.py bench learning [--only SECTION] [--people girl,drawn] [--steps 400] [--seeds 10] [--folder FOLDER]`."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import _pocket
from bench import train as bench_train
from bench._pocket import PEOPLE
from launcher.demo.settings import POCKET

if TYPE_CHECKING:
    import numpy as np
    import torch

    from bench._likeness import Aligned, Measure
    from facechain_impl.portrait.inpaint.group import TargetPicture

OF_SEEDS, WITH_FACE, A_COPY = 0.9, 0.8, 0.95
"""Share of the seeds that must be right, share of portraits in which a face must be found, correlation of what counts as a copy."""
TRAININGS, OF_EACH = 5, 4
"""Seeds of the rivals' trainings, and portraits with each of their LoRAs."""
FRACTIONS = (0.25, 0.5, 1.0)
PAINT_STRENGTH = 0.85
JUDGED_SEED = 500
"""First seed of the portraits that say how good each step was; the judge sees other ones."""
Found = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """people: whose names. seeds: portraits of everybody. base: the folder of models and people. pictures: where they are put."""

    people: tuple[str, ...]
    steps: int
    seeds: int
    base: Path

    @property
    def pictures(self) -> Path:
        return self.base / "pictures"


def studio_and_measure(options: Options) -> tuple[_pocket.Studio, Measure]:
    studio = _pocket.Studio(options.base)  # chooses the host's folders, which are read when its modules are imported
    from bench._likeness import Measure

    return studio, Measure(_pocket.USUAL_FACE)


def identity(options: Options) -> Found:
    """likeness: of everybody's portraits to everybody's photos, by seed. base: of the untrained model's. between, photos: the highest
    correlation of two portraits, and of a portrait with a training photo."""
    studio, measure = studio_and_measure(options)
    seeds = range(options.seeds)
    shown = {name: measure.align(_pocket.crops(PEOPLE[name].shown)) for name in options.people}
    base = studio.portraits(studio.base, seeds)
    noise = measure.align(studio.of_noise(seeds))
    _pocket.save(options.pictures, "base", base)
    found: Found = {"base": compared(measure.align(base), shown), "noise_faces": faces_in(noise), "people": {}}
    for name in options.people:
        lora = studio.train(PEOPLE[name], options.steps).person.lora
        portraits = studio.portraits(studio.with_lora(lora), seeds)
        unchanged = studio.portraits(studio.with_lora(lora, 0.0), seeds)
        aligned = measure.align(portraits)
        _pocket.save(options.pictures, name, [*_pocket.crops(PEOPLE[name].photos[:1], _pocket.SIZE), *portraits])
        found["people"][name] = {
            "likeness": compared(aligned, shown),
            "faces": faces_in(aligned),
            "painted": PEOPLE[name].painted,
            "unchanged": all(bool((one == other).all()) for one, other in zip(unchanged, base)),
            **copies(portraits, _pocket.crops(PEOPLE[name].photos)),
        }
    return found


def compared(portraits: list[Aligned], shown: Mapping[str, list[Aligned]]) -> dict[str, list[float]]:
    from bench._likeness import to_photos

    return {name: [to_photos(portrait, photos) for portrait in portraits] for name, photos in shown.items()}


def faces_in(aligned: Sequence[Aligned]) -> int:
    return sum(one.found for one in aligned)


def copies(portraits: list[torch.Tensor], photos: list[torch.Tensor]) -> dict[str, float]:
    from bench._likeness import copied

    between = max((copied(one, other) for one, other in itertools.combinations(portraits, 2)), default=0.0)
    return {"between": between, "photos": max(copied(portrait, photo) for portrait in portraits for photo in photos)}


def nearest(found: Found, name: str, whose: str) -> int:
    """For how many seeds the portraits with the LoRA of `name` are nearer to the photos of `whose` than to anybody else's, and nearer than
    the untrained model's."""
    likeness, base = found["people"][name]["likeness"], found["base"][whose]
    others = [values for other, values in likeness.items() if other != whose]
    wins = [all(own > other for other in (plain, *rest)) for own, plain, *rest in zip(likeness[whose], base, *others)]
    return sum(wins)


def identity_problems(found: Found) -> list[str]:
    names = list(found["people"])
    problems = [
        f"{name}: {problem}" for name, following in zip(names, [*names[1:], names[0]]) for problem in _problems_of(found, name, following)
    ]
    if found["noise_faces"]:
        problems.append(f"a face in {found['noise_faces']} pictures of noise")
    return problems


def _problems_of(found: Found, name: str, following: str) -> list[str]:
    """following: somebody else, as whom the portraits must not pass."""
    one, seeds = found["people"][name], len(found["base"][name])
    own, shuffled = nearest(found, name, name), nearest(found, name, following)
    goals = {
        f"nearest to their own photos at {own} of {seeds} seeds": own >= OF_SEEDS * seeds,
        f"passes as {following} at {shuffled} of {seeds} seeds": shuffled < OF_SEEDS * seeds,
        f"a face in {one['faces']} of {seeds} portraits": not one["painted"] or one["faces"] >= WITH_FACE * seeds,
        f"two portraits are alike, correlation {one['between']:.3f}": one["between"] < A_COPY,
        f"a portrait repeats a photo, correlation {one['photos']:.3f}": one["photos"] < A_COPY,
        "at strength 0 the picture is not that of the untrained model": one["unchanged"],
    }
    return [text for text, met in goals.items() if not met]


def show_identity(found: Found) -> None:
    names = list(found["people"])
    print(f"{'likeness to the photos of':<30}" + "".join(f"{name:>12}" for name in names) + f"{'nearest':>10}{'faces':>8}")
    rows = [("untrained", found["base"], "", "")]
    for name in names:
        one = found["people"][name]
        seeds = len(found["base"][name])
        rows.append((name, one["likeness"], f"{nearest(found, name, name)} of {seeds}", f"{one['faces']}"))
    for name, likeness, wins, faces in rows:
        print(
            f"  portraits of {name:<15}" + "".join(f"{statistics.mean(likeness[other]):12.2f}" for other in names) + f"{wins:>10}{faces:>8}"
        )
    for name in names:
        one = found["people"][name]
        print(f"  {name}: correlation of two portraits at most {one['between']:.2f}, with a photo {one['photos']:.2f}")


def rivals(options: Options) -> Found:
    """Likeness reached, by person, contender and share of the steps: for each training the mean of some portraits."""
    marks = {max(1, round(fraction * options.steps)): f"{fraction:.0%}" for fraction in FRACTIONS}
    names = rivals_people(options.people)
    return {
        name: {
            rival: bench_train.in_a_process(f"the training of {name} by {rival}", of_rival, rival, name, list(marks), options)
            for rival in ("pack", "diffusers", "host")
        }
        for name in names
    }


def rivals_people(people: Sequence[str]) -> list[str]:
    """Somebody with several photos and one held out, where there is one."""
    return [name for name in people if PEOPLE[name].held_out][:1] or list(people[:1])


def of_rival(rival: str, name: str, marks: list[int], options: Options) -> dict[str, list[float]]:
    from bench._rivals import CONTENDERS

    studio, measure = studio_and_measure(options)
    shown = {name: measure.align(_pocket.crops(PEOPLE[name].shown))}
    reached: dict[str, list[float]] = {f"{mark / marks[-1]:.0%}": [] for mark in marks}
    for seed in range(min(TRAININGS, options.seeds)):
        loras = CONTENDERS[rival][1](studio, PEOPLE[name], seed, marks)
        for label, mark in zip(reached, marks):
            portraits = studio.portraits(studio.with_lora(loras[mark]), range(OF_EACH))
            reached[label].append(statistics.mean(compared(measure.align(portraits), shown)[name]))
            _pocket.save(options.pictures, f"rival_{rival}_{label.rstrip('%')}_{seed}", portraits)
    return reached


def behind(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float]:
    """Mean of the paired differences, ours less theirs, and its standard error."""
    differences = [one - other for one, other in zip(ours, theirs, strict=True)]
    error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.inf
    return statistics.mean(differences), error


def rivals_problems(found: Found) -> list[str]:
    problems = []
    for name, reached in found.items():
        for rival, label in itertools.product([one for one in reached if one != "pack"], reached["pack"]):
            difference, error = behind(reached["pack"][label], reached[rival][label])
            if difference < -error:
                problems.append(f"{name}, {label} of the steps: {-difference:.3f} behind {rival}, standard error {error:.3f}")
    return problems


def show_rivals(found: Found) -> None:
    for name, reached in found.items():
        labels = list(reached["pack"])
        print(f"{name + ', likeness reached after':<30}" + "".join(f"{label:>20}" for label in labels))
        for rival, values in reached.items():
            cells = []
            for label in labels:
                difference, error = behind(reached["pack"][label], values[label])
                told = "" if rival == "pack" else f" ({difference:+.3f}±{error:.3f})"
                cells.append(f"{statistics.mean(values[label]):.3f}{told}")
            print(f"  {rival:<28}" + "".join(f"{cell:>20}" for cell in cells))


def inpaint(options: Options) -> Found:
    """Likeness to the first person before and after being painted over a face, and of two who are painted into one picture."""
    import torch

    studio, measure = studio_and_measure(options)
    trained = {name: studio.train(PEOPLE[name], options.steps).person for name in options.people[:2]}
    shown = {name: measure.align(_pocket.crops(PEOPLE[name].shown)) for name in trained}
    lady = _pocket.read(_pocket.LADY)
    with torch.inference_mode():
        single, double = target_picture(lady), target_picture(torch.cat([lady, lady], 1))
        painted = {"one": (single, list(trained)[:1]), "two": (double, list(trained))}
        found: Found = {}
        for kind, (picture, names) in painted.items():
            finished = paint(studio, picture, [trained[name] for name in names], options.seeds)
            _pocket.save(options.pictures, f"inpaint_{kind}", [picture.image, *finished])
            found[kind] = {
                "before": compared(measure.align(faces_of(picture, picture.image)), shown),
                "faces": [compared(measure.align(faces_of(picture, image)), shown) for image in finished],
                "people": names,
                "outside": [untouched(picture, image) for image in finished],
            }
    return found


def target_picture(image: torch.Tensor) -> TargetPicture:
    """With its faces from the left, and a mask of ovals in them."""
    import numpy as np
    import torch

    from facechain_impl.perception.detection import BUILT_IN, open_detector
    from facechain_impl.perception.faces import left_to_right
    from facechain_impl.portrait.inpaint.group import TargetPicture
    from facechain_impl.portrait.inpaint.targets import GivenMasks

    faces = list(left_to_right(open_detector(BUILT_IN).detect([image])[0]))
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    mask = np.zeros(image.shape[:2], np.float32)
    for face in faces:
        (x0, y0), (x1, y1) = face.box[:2], face.box[2:]
        mask[((2 * columns - x0 - x1) / (x1 - x0)) ** 2 + ((2 * rows - y0 - y1) / (y1 - y0)) ** 2 < 1] = 1
    masks = torch.from_numpy(mask)
    return TargetPicture(name="the painting", image=image, faces=faces, given=GivenMasks(masks, masks, masks))


def paint(studio: _pocket.Studio, picture: TargetPicture, persons: Sequence[Any], seeds: int) -> list[torch.Tensor]:
    """The picture with the persons in it from left to right, once for each seed."""
    from facechain_impl.host.sampling import SamplingSettings
    from facechain_impl.perception.detection import BUILT_IN, open_detector
    from facechain_impl.portrait.inpaint.group import FaceAssignment, GroupInpaint, PromptText, Subjects
    from facechain_impl.portrait.inpaint.targets import FaceAnalyzer
    from facechain_impl.portrait.inpaint.two_stage import Nets, Settings
    from facechain_impl.portrait.people import Assign
    from facechain_impl.types import NoFace

    group = GroupInpaint(
        base=studio.base, nets=Nets(), analyzer=FaceAnalyzer(open_detector(BUILT_IN)), subjects=Subjects(persons=persons, strength=1.0),
        words=PromptText(scene=POCKET.words, negative=""), settings=Settings(size=_pocket.SIZE, strength=PAINT_STRENGTH),
        schedule=SamplingSettings(**_pocket.SAMPLING),
    )  # fmt: skip
    return group.run(picture, FaceAssignment(how=Assign.ORDER), 0, seeds, NoFace.PASS)


def faces_of(picture: TargetPicture, image: torch.Tensor) -> list[torch.Tensor]:
    """What is where the faces of `picture` are, cut as training pictures are."""
    from facechain_impl.geometry.stitch import cut_out, face_matrix

    matrices = [face_matrix(face.box, face.points, _pocket.FACE_SHARE, 2 * _pocket.SIZE, upright=False) for face in picture.faces]
    return [cut_out(image, matrix, 2 * _pocket.SIZE) for matrix in matrices]


def untouched(picture: TargetPicture, image: torch.Tensor) -> bool:
    """Whether every pixel that no face may reach is what it was, bit for bit."""
    import torch

    outside = torch.ones(image.shape[:2], dtype=torch.bool)
    for (x0, y0, x1, y1), mask in paste_masks(picture):
        outside[y0:y1, x0:x1] &= mask == 0
    return bool(outside.any()) and bool((image[outside] == picture.image[outside]).all())


def paste_masks(picture: TargetPicture) -> Iterator[tuple[tuple[int, int, int, int], torch.Tensor]]:
    from facechain_impl.portrait.inpaint.geometry import face_square
    from facechain_impl.portrait.inpaint.masks import paste_mask

    boxes: list[np.ndarray] = [face.box for face in picture.faces]
    for index, box in enumerate(boxes):
        yield paste_mask(face_square(box), box, [other for place, other in enumerate(boxes) if place != index], *picture.image.shape[:2])


def moved(found: Found) -> int:
    """In how many pictures the face is nearer to the person than it was."""
    (name,) = found["one"]["people"]
    before = found["one"]["before"][name][0]
    return sum(faces[name][0] > before for faces in found["one"]["faces"])


def placed(found: Found) -> int:
    """In how many pictures everybody is nearer to their own photos than to the other's, each in their place."""
    names = found["two"]["people"]
    return sum(
        all(faces[name][place] > faces[other][place] for place, name in enumerate(names) for other in names if other != name)
        for faces in found["two"]["faces"]
    )


def inpaint_problems(found: Found) -> list[str]:
    problems = []
    count = len(found["one"]["faces"])
    if moved(found) < OF_SEEDS * count:
        problems.append(f"the face is nearer to {found['one']['people'][0]} than before in {moved(found)} of {count} pictures")
    count = len(found["two"]["faces"])
    if placed(found) < OF_SEEDS * count:
        problems.append(f"both are in their places in {placed(found)} of {count} pictures")
    problems += [f"{kind} painted: pixels outside the faces changed" for kind in ("one", "two") if not all(found[kind]["outside"])]
    return problems


def show_inpaint(found: Found) -> None:
    one, two = found["one"], found["two"]
    (name,) = one["people"]
    before, after = one["before"][name][0], statistics.mean(faces[name][0] for faces in one["faces"])
    print(f"  {name} into a painting: likeness {before:.2f} before, {after:.2f} after; nearer in {moved(found)} of {len(one['faces'])}")
    print(f"  {' and '.join(two['people'])}: each in their place in {placed(found)} of {len(two['faces'])}")
    print(f"  outside the faces bit-identical: {all(one['outside'] + two['outside'])}")


def judge(options: Options) -> Found:
    """Looks of a training with the measure as its scorer, and how alike portraits of each step are that the judge did not see."""
    from bench._likeness import to_photos
    from facechain_impl.identity import persons
    from facechain_impl.identity.lora import formats
    from facechain_impl.identity.training.judge import LOOKS, affordable
    from facechain_impl.identity.training.looks import LookPlan

    studio, measure = studio_and_measure(options)
    (name,) = rivals_people(options.people)
    known = measure.align(_pocket.crops(PEOPLE[name].photos))
    shown = {name: measure.align(_pocket.crops(PEOPLE[name].shown))}

    def scorer(pictures: list[torch.Tensor]) -> list[float | None]:
        return [to_photos(one, known) if one.found else None for one in measure.align([picture.cpu() for picture in pictures])]

    plan = LookPlan(affordable(LOOKS, options.steps), scorer=scorer, keep=True)
    report = studio.train(PEOPLE[name], options.steps, plan, name=f"{name}_judged").person
    seeds = range(JUDGED_SEED, JUDGED_SEED + options.seeds)
    found: Found = {"person": name, "chosen": report.report["used_step"], "looks": {}, "true": {}}
    for look in report.report["looks"]:
        step = look["step"]
        lora = formats.read(persons.step_file(report.name, step)).tensors
        portraits = studio.portraits(studio.with_lora(lora), seeds)
        found["looks"][str(step)] = statistics.mean(look["scores"])
        found["true"][str(step)] = compared(measure.align(portraits), shown)[name]
    return found


def judge_problems(found: Found) -> list[str]:
    chosen, last = (found["true"][str(step)] for step in (found["chosen"], max(map(int, found["true"]))))
    difference, error = behind(chosen, last)
    if difference < -error:
        return [f"step {found['chosen']} was chosen and is {-difference:.3f} behind the last, standard error {error:.3f}"]
    return []


def show_judge(found: Found) -> None:
    true = {int(step): statistics.mean(values) for step, values in found["true"].items()}
    best = max(true, key=lambda step: true[step])
    print(f"  {found['person']}: the judge's score, and likeness of portraits that it did not see, after each look")
    for step, value in true.items():
        told = ", ".join(word for word, here in (("chosen", found["chosen"]), ("last", max(true)), ("best", best)) if here == step)
        print(f"    step {step:>5}: {found['looks'][str(step)]:.3f}  {value:.3f}  {told}")
    lost = [true[best] - true[step] for step in (found["chosen"], max(true))]
    print(f"  lost against the best step: {lost[0]:.3f}; by always taking the last: {lost[1]:.3f}")


@dataclass(frozen=True)
class Section:
    """apart: measured in a process of its own. Else it starts them itself."""

    measure: Callable[[Options], Found]
    show: Callable[[Found], None]
    problems: Callable[[Found], list[str]]
    apart: bool = True


SECTIONS = {
    "identity": Section(identity, show_identity, identity_problems),
    "rivals": Section(rivals, show_rivals, rivals_problems, apart=False),
    "inpaint": Section(inpaint, show_inpaint, inpaint_problems),
    "judge": Section(judge, show_judge, judge_problems),
}


def run(options: Options, names: Sequence[str]) -> list[str]:
    """Measure and print; returns the goals that were missed."""
    problems = []
    bench_train.in_a_process("assembling the pocket model", _pocket.assemble, options.base)
    for name in names:
        section = SECTIONS[name]
        print(f"\n{name}", flush=True)
        given = bench_train.in_a_process(name, section.measure, options) if section.apart else section.measure(options)
        section.show(given)
        problems += [f"{name}, {problem}" for problem in section.problems(given)]
        print(json.dumps({"section": name, "results": given}), flush=True)
    return problems


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="bench learning", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=list(SECTIONS), help="one section")
    parser.add_argument("--people", default=",".join(PEOPLE), help="whom to train, two or more, with commas; default: %(default)s")
    parser.add_argument(
        "--steps",
        type=int,
        default=_pocket.STEPS,
        help=f"of a training, of people with one photo {_pocket.OF_ONE_PHOTO:.0%}% of them; default: %(default)s",
    )
    parser.add_argument("--seeds", type=int, default=10, help="portraits of everybody; default: %(default)s")
    parser.add_argument("--folder", type=Path, help="keeps pictures and people; trainings that are there are not repeated")
    given = parser.parse_args(argv)
    people = tuple(given.people.split(","))
    if len(people) < 2 or not set(people) <= set(PEOPLE):
        parser.error(f"--people are at least two of {', '.join(PEOPLE)}")
    with tempfile.TemporaryDirectory() as temporary:
        base = (given.folder or Path(temporary)).resolve()
        base.mkdir(parents=True, exist_ok=True)
        problems = run(Options(people, given.steps, given.seeds, base), [given.only] if given.only else list(SECTIONS))
    print("\n".join(["Missed:", *problems]) if problems else "All goals are met.")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

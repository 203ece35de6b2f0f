"""Makes the committed fixtures: `python -m tests.parity.extract ../shared/parity`.

Only numbers computed from made-up input may be committed: names that hold pixels of photographs, or were computed from them, are
refused. What is kept of a file is said in words, of which the last that fits a name counts: "NAME" keeps the array, "NAME/7" every
7th element of what the fixture has of it, "NAME@1" its first row, for arrays whose later rows come from a photograph. NAME may
hold the wildcards of file names. Of a photograph its name, shape and checksum are kept.
"""

from __future__ import annotations

import argparse
import re
import shutil
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np

from .harness import HERE, PARTS, TALKING, photographs_of, separator_of, whole_name

PIXELS = re.compile(r"bgr|rgb|photo_|_input$|every4|enhanced|whiten|rotate|letterbox|degree|local_|blend")
KEY_LISTS = """
damofd deepdanbooru fact_processor320 fact_projector fairface flcm fusion_aei fusion_arcface fusion_gpen1024 fusion_recon m2fp retinaface
rts sd15_attn2_320 skin_det skin_inpaint skin_unet transface_s sadtalker/bundle sadtalker/fan sadtalker/gfpgan sadtalker/mapping70
sadtalker/mapping73 sadtalker/parsenet sadtalker/retinaface
"""
COPIED = ("tables.json",)
STAGES = "out_*_f?/2 out_*_step?/3 out_occlusion_map*"
ARRAYS: dict[str, str] = {
    "align": (
        "points reference matrices fusion256_matrices fusion256_inverse enhance1024_matrices enhance1024_inverse enhance1024_reference"
    ),
    "damofd": (
        "x_shape x_range cls_stride8 cls_stride16 cls_stride32 reg_stride8/5 reg_stride16/3 reg_stride32 kps_stride8/11 kps_stride16/5 "
        "kps_stride32/3"
    ),
    "geometry": (
        "angle_points angle_radians angle_transform angle_regular_branch head_ellipses head_labels head_scores head_mask_bits "
        "head_mask_sum head_mask_unique crop_boxes crop_geometry crop_geometry_names crop_ok facecrop_boxes facecrop_ratios"
    ),
    "deepdanbooru": "x_shape logits probabilities",
    "fact": (
        "x_shape tokens/7 global_unused projected/3 projected_null/3 block_hidden_shape block_one/2 block_one_images_scale "
        "block_half/2 block_half_images_scale block_two/2 block_two_images_scale"
    ),
    "fairface": "x_shape x_range logits",
    "flcm": "x_shape x_range cls landmarks rp nose",
    "fusion_aei": (
        "id kp_target kp_fused x_base_shape x/9 deformation flow/9 deformed/9 attr1 attr2 attr3/3 attr4/5 attr5/5 attr6/5 attr7/5 "
        "attr8/5 out/3"
    ),
    "fusion_arcface": "x_shape embedding feats0",
    "fusion_blend": "points trans_inv mask_formula mask_warped enhance_mask_row256 enhance_mask_diag",
    "fusion_gpen1024": "x_base_shape x_repeat out/13 out_crop_rows480_544_cols480_544",
    "fusion_recon": (
        "x_shape coefficients split bfm_vertices bfm_keypoints_1based bfm_source_coefficients bfm_source_landmarks224 bfm_source_kp "
        "bfm_target_coefficients bfm_target_landmarks224 bfm_target_kp bfm_fused_coefficients bfm_fused_landmarks224 bfm_fused_kp"
    ),
    "lora": "*",
    "m2fp": (
        "x_shape x_range logits masks/7 res2/3 res3/3 res4/3 res5/3 pixel_decoder_mask_features/3 pixel_decoder_scale0/3 "
        "pixel_decoder_scale1 pixel_decoder_scale2/3 post_padded_hw post_unpadded_hw post_output_hw post_scores post_labels "
        "post_areas post_masks_every3_bits post_masks_every3_shape classes"
    ),
    "onnx_inputs": "choose_face",
    "retinaface": "x_shape x_range loc conf landms priors/7",
    "rts": "x_shape x_range out0@1 out1@1 embedding@1 embedding_normalised@1 features@1",
    "skin": (
        "unet_x_shape det_x_shape inpaint_x_shape unet_out/5 det_logits/5 inpaint_out/11 square_boxes_in square_boxes_out "
        "border_mask_row250 border_mask_corner border_mask_end"
    ),
    "sadtalker/align": "* out_crop?/7",
    "sadtalker/animate_128_full": f"* {STAGES} out_prediction/5 out_uint8/5 out_resized_uint8/5",
    "sadtalker/animate_256": f"* {STAGES} out_prediction/7 out_uint8/7 out_resized_uint8/7",
    "sadtalker/audio2exp": "* out_embedding/3",
    "sadtalker/audio2pose": "*",
    "sadtalker/blink": "*",
    "sadtalker/crop": "* out_pixels_*/5",
    "sadtalker/enhancer": "* out_aligned_rgb?/5 out_pasted_rgb?/7",
    "sadtalker/fan": "* out_heatmap?/3",
    "sadtalker/generator_128": f"* {STAGES} out_prediction/5 out_uint8/3",
    "sadtalker/generator_512": "* out_*/2 out_prediction/3 out_occlusion_map/3",
    "sadtalker/gfpgan": "* out_image/5 out_uint8/5",
    "sadtalker/kp_extractor": "* out_heatmap_logit_*/3",
    "sadtalker/kp_transform": "*",
    "sadtalker/mapping70": "*",
    "sadtalker/mapping73": "*",
    "sadtalker/mel": "* out_mel/7 out_windows/29",
    "sadtalker/parsenet": "* out_logit/3",
    "sadtalker/poisson": "* out_resized?/3",
    "sadtalker/recon": "*",
    "sadtalker/render_data": "*",
    "sadtalker/retinaface": "*",
}


def extract(fixtures: Path, parity: Path) -> None:
    """Write the listed arrays of every file in `fixtures` into `parity`/data, in the same format, and the key lists into `parity`/keys."""
    for file, words in ARRAYS.items():
        target = parity / "data" / f"{file}.npz"
        target.parent.mkdir(parents=True, exist_ok=True)
        with np.load(fixtures / f"{file}.npz") as stored:
            np.savez_compressed(target, **chosen(stored, words.split(), separator_of(target)))
    for name in COPIED:
        shutil.copy(fixtures / name, parity / "data" / name)
    for name in KEY_LISTS.split():
        folder, _, file = name.rpartition("/")
        (parity / "keys" / folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(fixtures / folder / "keys" / f"{file}.tsv", parity / "keys" / f"{name}.tsv")
    shutil.copy(fixtures / TALKING / "fingerprints.tsv", parity / "keys" / TALKING)


def chosen(stored, words: list[str], separator: str) -> dict[str, np.ndarray]:
    """What `words` keep of a fixture file."""
    photographs = photographs_of(stored)
    kept = {"seed": stored["seed"], **{name: stored[name] for name in photographs}}
    for name in dict.fromkeys(whole_name(part, stored, separator) for part in stored):
        word = next((word for word in reversed(words) if fnmatchcase(name, re.split("[/@]", word)[0])), None)
        if word is None or name in kept:
            continue
        if photographs and PIXELS.search(name):
            raise ValueError(f"{name} may hold pixels of a photograph, which are never committed. Take it off the list.")
        _, mark, number = re.split("([/@])", word) if re.search("[/@]", word) else (word, "/", "1")
        kept |= (entry if mark == "/" else first_rows)(stored, name, int(number), separator)
    return kept


def entry(stored, name: str, every: int, separator: str) -> dict[str, np.ndarray]:
    """The parts of the array `name`: as it is, or sampled with `every` times the stored stride."""
    sample, stride, shape, stats = (name + separator + part for part in PARTS)
    extra = {stats: stored[stats]} if stats in stored else {}
    if name in stored and every == 1:
        return {name: stored[name], **extra}
    whole, step = (stored[name], 1) if name in stored else (stored[sample], int(stored[stride]))
    if name in stored and not extra:
        wide = whole.astype(np.float64)
        extra = {stats: np.array([wide.mean(), wide.std(), np.abs(wide).max()], np.float32)}
    size = np.array(whole.shape) if name in stored else stored[shape]
    return {sample: whole.reshape(-1)[::every], stride: np.array(step * every), shape: size, **extra}


def first_rows(stored, name: str, rows: int, separator: str) -> dict[str, np.ndarray]:
    """The first `rows` rows of the array `name`, without statistics, which are of all rows."""
    if name in stored:
        return {name: stored[name][:rows]}
    sample, stride, shape = (f"{name}{separator}{part}" for part in PARTS[:3])
    size = np.array([rows, *stored[shape][1:]])
    return {sample: stored[sample][: -(-int(size.prod()) // int(stored[stride]))], stride: stored[stride], shape: size}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fixtures", type=Path, help="a folder laid out like ../shared/parity")
    parser.add_argument("--parity", type=Path, default=HERE, help="the folder to write data and keys into")
    arguments = parser.parse_args()
    extract(arguments.fixtures, arguments.parity)

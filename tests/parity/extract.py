"""Makes the committed fixtures: `python tests/parity/extract.py ../shared/parity`.

Only numbers computed from random input may be committed, so the arrays are named here one by one, and names that hold pixels of
photographs are refused. "NAME/7" keeps every 7th element of what the fixture has of NAME, "NAME@1" its first row, for arrays whose
later rows come from a photograph; "*" keeps everything.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np

PIXELS = re.compile(r"bgr|rgb|crop_|photo_")
PARTS = ("sample", "stride", "shape", "stats")
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
        "head_mask_sum head_mask_unique"
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
    "fusion_gpen1024": "x_base_shape x_repeat out/13",
    "fusion_recon": (
        "x_shape coefficients split bfm_vertices bfm_keypoints_1based bfm_source_coefficients bfm_source_landmarks224 bfm_source_kp "
        "bfm_target_coefficients bfm_target_landmarks224 bfm_target_kp bfm_fused_coefficients bfm_fused_landmarks224 bfm_fused_kp"
    ),
    "lora": "*",
    "m2fp": (
        "x_shape x_range logits masks/7 res2/3 res3/3 res4/3 res5/3 pixel_decoder_mask_features/3 pixel_decoder_scale0/3 "
        "pixel_decoder_scale1 pixel_decoder_scale2/3 post_padded_hw post_unpadded_hw post_output_hw post_scores post_labels "
        "post_areas post_masks_every3_bits post_masks_every3_shape"
    ),
    "retinaface": "x_shape x_range loc conf landms priors/7",
    "rts": "x_shape x_range out0@1 out1@1 embedding@1 embedding_normalised@1 features@1",
    "skin": "unet_x_shape det_x_shape inpaint_x_shape unet_out/5 det_logits/5 inpaint_out/11",
    "sadtalker/mel": "in_wav out_mel/7 out_windows/29 out_window_start in_short_offset_length out_short_T out_short_windows in_lengths "
    "out_cut_length_and_T out_idle_T in_idle_seconds",
    "sadtalker/audio2exp": "in_windows in_ref_exp in_ratio out_exp out_embedding/3",
    "sadtalker/audio2pose": "*",
    "sadtalker/blink": "in_seed_T " + " ".join(f"out_gaps{i} out_ratio{i} out_choice_range{i}" for i in range(18)),
    "sadtalker/kp_transform": "in_kp in_yaw in_pitch in_roll in_t in_exp in_override_yaw_pitch_roll out_kp out_kp_yaw_override "
    "out_kp_all_override out_degrees out_rotation",
    "sadtalker/mapping70": "in_semantics out_yaw out_pitch out_roll out_t out_exp out_degree_yaw out_degree_pitch out_degree_roll",
    "sadtalker/crop": "in_size_wh modes "
    + " ".join(
        f"in_landmarks{i} out_rsize{i} out_crop{i} out_quad{i} out_innerwh_framehw_ok{i} out_pastesize_center_full_extfull{i}"
        for i in range(10)
    ),
    "sadtalker/render_data": "in_source_coeff73 in_driving70 in_batch out_target_full out_source_full "
    + " ".join(f"in_camera{i} in_camera{i}_frames_batch out_camera{i}" for i in range(6))
    + " out_yaw out_pitch out_roll",
}


def extract(fixtures: Path, data: Path) -> None:
    """Write the listed arrays of every file in `fixtures` into `data`, in the same format."""
    for file, names in ARRAYS.items():
        source = fixtures / f"{file}.npz"
        with np.load(source) as stored:
            kept = {"seed": stored["seed"]}
            for name in stored.files if names == "*" else names.split():
                separator = "__" if "/" in file else "_"
                kept |= (
                    first_rows(stored, *name.split("@"), separator) if "@" in name else entry(stored, *name.split("/"), separator=separator)
                )
        target = data / f"{file}.npz"
        target.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(target, **kept)


def entry(stored, name: str, every: str = "1", *, separator: str) -> dict[str, np.ndarray]:
    """The parts of the array `name`: whole as it is, or sampled with `every` times the stored stride."""
    if PIXELS.search(name):
        raise ValueError(f"{name} may hold pixels of a photograph, which are never committed. Take it off the list.")
    sample, stride, shape, stats = (name + separator + part for part in PARTS)
    extra = {stats: stored[stats]} if stats in stored else {}
    if name in stored and every == "1":
        return {name: stored[name], **extra}
    whole, step = (stored[name], 1) if name in stored else (stored[sample], int(stored[stride]))
    size = np.array(whole.shape) if name in stored else stored[shape]
    return {sample: whole.reshape(-1)[:: int(every)], stride: np.array(step * int(every)), shape: size, **extra}


def first_rows(stored, name: str, rows: str, separator: str) -> dict[str, np.ndarray]:
    """The first `rows` rows of the array `name`, without statistics, which are of all rows."""
    if name in stored:
        return {name: stored[name][: int(rows)]}
    sample, stride, shape = (f"{name}{separator}{part}" for part in PARTS[:3])
    size = np.array([int(rows), *stored[shape][1:]])
    return {sample: stored[sample][: -(-int(size.prod()) // int(stored[stride]))], stride: stored[stride], shape: size}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("fixtures", type=Path, help="a folder laid out like ../shared/parity")
    parser.add_argument("--data", type=Path, default=Path(__file__).parent / "data")
    arguments = parser.parse_args()
    extract(arguments.fixtures, arguments.data)

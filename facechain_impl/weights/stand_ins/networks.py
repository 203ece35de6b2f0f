"""Files of random numbers in the published layouts, for tests and demonstrations. They are marked as such in their metadata.

A value depends only on the seed, its name and its shape. The scales keep activations of these untrained networks in range, so that
every stage downstream works on ordinary numbers; they have no other meaning.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from ...networks.fact import SITES
from ...networks.published import COUNTER, Entry
from ...types import Layout
from .. import catalogue, files
from ..convert import Tensors, write

if TYPE_CHECKING:
    from onnx import NodeProto

GAIN = 1.4
TAGS = 9176
RANK = 4
TEXT_WIDTH = 768
FIXED = ("integral.project", ".kernel", COUNTER)
STANDARD = re.compile(r"classbias$")
TABLE = re.compile(r"(level_embed|query_feat|query_embed)(\.weight)?$|(^|\.)(pos_embed|latents|mask_token|input\.input)$")
SCALES = (
    # last norm of a residual branch, so that depth does not multiply the signal
    (r"(res_layer\.4|layer\d\.\d+\.bn[23]|res\d\.\d+\.conv3\.norm|conv2\.norm\.norm|resblocks_3d\.3dr\d\.norm2)\.weight$", 0.4),
    (r"(^|\.)(bn[123]|downsample\.0|bn_end\d)\.weight$|audio_encoder\.\d+\.conv_block\.1\.weight$", 0.4),
    (r"^n_Conv_\d+\.weight$|^generator\.second\.weight$", 0.7),
    (r"predictor\.transformer_.*(out_proj|linear2)\.weight$", 0.1),
    (r"predictor\.(query_feat|class_embed)\.weight$", 4.0),
    # first layers that read pictures in 0..255
    (r"^(body\.conv1|landmark_net\.conv_pre\.0)\.weight$", 0.012),
    # last layers
    (r"^bbox_head\.stride_(reg|cls)\.0\.weight$|^(outc|dc_images_6|out|final)\b.*weight$|kp\.weight$|mapping1\.weight$", 0.5),
    (r"to_rgb\w*(\.\d)?\.conv\.weight$|^(out_img_conv|out_mask_conv)\.conv2d\.weight$", 0.3),
    (r"^(ClassHead|BboxHead|LandmarkHead)\..*weight$|(^|\.)(fc|final_layers\.\d)\.weight$|^fc_(t|exp)\.weight$", 0.02),
    (r"^(cls_net|landmark_net)\.(fc\w*|out\w*)\.weight$", 0.2),
)
SHIFTS = (
    (r"^bbox_head\.stride_reg\.0\.bias$", 2.0),
    (r"^bbox_head\.stride_cls\.0\.bias$", -1.9),
    (r"modulation\.bias$", 1.0),
)


def write_stand_in(name: str, folder: Path, seed: int = 1) -> Path:
    """The stand-in of the catalogue's `name` in `folder`, where `load.find` looks for it. ONNX ones need the onnx package."""
    entry = catalogue.get(name)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / files.stand_in_name(entry)
    if path.suffix == ".safetensors":
        metadata = {files.MARK: files.STAND_IN, **_extra_metadata(entry)}
        write(path, make(layout(entry), seed), metadata)
    else:
        OTHER_FILES[name](path, seed)
    return path


def layout(entry: Entry) -> Layout:
    """The published layout, including that of the one file that holds LoRA tensors and no network; a narrow one where the entry has
    such sizes, so that a clip is drawn in seconds."""
    return lora_layout() if entry.name == "face_frombase_c4" else entry.narrow_layout()


def _extra_metadata(entry: Entry) -> dict[str, str]:
    return {"tags": json.dumps([f"stand_in_tag_{i}" for i in range(TAGS)])} if entry.name == "deepdanbooru" else {}


def lora_layout() -> Layout:
    """Names and shapes of a rank 4 LoRA on every attention of the SD 1.5 UNet, as diffusers' attention processors stored it."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path, width in SITES:
        for attention, context in (("attn1", width), ("attn2", TEXT_WIDTH)):
            for projection, inputs in (("to_q", width), ("to_k", context), ("to_v", context), ("to_out", width)):
                stem = f"{path}.transformer_blocks.0.{attention}.processor.{projection}_lora"
                shapes |= {f"{stem}.down.weight": (RANK, inputs), f"{stem}.up.weight": (width, RANK)}
    return {name: (shape, torch.float32) for name, shape in shapes.items()}


def make(shapes: Layout, seed: int) -> Tensors:
    """Name -> tensor for a layout."""
    equalised = any(name.endswith("style.1.weight") for name in shapes)
    tensors = {name: _value(name, shape, dtype, shapes, equalised, seed) for name, (shape, dtype) in shapes.items()}
    for name in tensors:
        if name.endswith(("weight_bar", "weight_orig")):
            tensors[name] = _with_sane_sigma(name, tensors)
    return tensors


def _value(name: str, shape: tuple, dtype: torch.dtype, shapes: Layout, equalised: bool, seed: int) -> torch.Tensor:
    if name.endswith(FIXED) or _is_blur(name, shape):
        return _fixed(name, shape, dtype)
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
    value = _random(name, shape, shapes, equalised, generator)
    for pattern, factor in SCALES:
        if re.search(pattern, name):
            value = value * factor
    for pattern, offset in SHIFTS:
        if re.search(pattern, name):
            value = value + offset
    return value.to(dtype)


def _random(name: str, shape: tuple, shapes: Layout, equalised: bool, generator: torch.Generator) -> torch.Tensor:
    def normal(std: float) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * std

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(shape, generator=generator)

    if name.endswith("running_var") or not shape:
        return uniform(0.5, 1.5)
    if name.endswith(("weight_u", "weight_v")):
        return torch.nn.functional.normalize(normal(1.0), dim=0)
    if STANDARD.search(name):
        return normal(1.0)
    if TABLE.search(name):
        return normal(0.5)
    if len(shape) > 1:
        scale = 100.0 if ".style." in name else 1.0  # equalised layers divide at run time, the style layers by 100 more
        return normal(scale if equalised else GAIN / math.sqrt(math.prod(shape[1:])))
    if name.endswith("weight"):
        is_norm = name.removesuffix("weight") + "bias" in shapes
        return uniform(0.5, 1.5) if is_norm else uniform(0.1, 0.4)
    return normal(0.05)


def _is_blur(name: str, shape: tuple) -> bool:
    return name.endswith("down.weight") and len(shape) == 4 and shape[1] == 1


def _fixed(name: str, shape: tuple, dtype: torch.dtype) -> torch.Tensor:
    """Buffers whose published values are known: blur kernels, bin numbers, counters."""
    if name.endswith(".kernel"):
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
        gain = 4 if "upsample" in name or "convs." in name else 1  # blurs behind a doubling restore the mean
        return torch.outer(taps, taps) / 64 * gain
    if _is_blur(name, shape):
        distance = torch.arange(shape[-1]) - (shape[-1] - 1) / 2
        bell = torch.exp(-(distance**2) / 4.5)
        bell = torch.outer(bell, bell)
        return (bell / bell.sum()).expand(shape).clone().to(dtype)
    return torch.arange(shape[0]).to(dtype) if shape else torch.zeros(shape, dtype=dtype)


def _with_sane_sigma(name: str, tensors: Tensors) -> torch.Tensor:
    """Spectral norm divides by u·(W v) with the stored u and v; the weight is moved so that this is 1."""
    stem = name.rsplit("weight", 1)[0] + "weight"
    weight, u, v = tensors[name], tensors[stem + "_u"], tensors[stem + "_v"]
    matrix = weight.flatten(1)
    return (matrix + torch.outer(u, v) * (1 - u @ (matrix @ v))).view_as(weight)


def _alpha_picture(path: Path, seed: int) -> None:
    """A white disc with a soft edge on black, 256 px."""
    axis = torch.linspace(-1, 1, 256)
    mask = (1.4 - 1.8 * torch.hypot(axis[:, None] * 0.9, axis[None])).clamp(0, 1)
    Image.fromarray((mask * 255).byte().numpy()).save(path, quality=95, comment=f"{files.MARK} {files.STAND_IN}".encode())


def _face_model(path: Path, seed: int) -> None:
    """A face of 400 vertices whose first 68 are landmarks around an oval, in the arrays of BFM_model_front.mat."""
    from scipy.io import savemat

    random = np.random.default_rng(seed)
    vertices = random.normal(0, 0.3, (400, 3)).astype(np.float32)
    turn = np.linspace(0, np.pi, 17)
    vertices[:17] = np.stack([-0.8 * np.cos(turn), 0.2 - 0.9 * np.sin(turn), 0.3 * np.sin(turn)], 1)
    arrays = {
        "meanshape": vertices.reshape(1, -1),
        "idBase": random.normal(0, 0.02, (1200, 80)).astype(np.float32),
        "exBase": random.normal(0, 0.02, (1200, 64)).astype(np.float32),
        "keypoints": np.arange(1, 69, dtype=np.int32)[None],
    }
    savemat(path, {**arrays, files.MARK: files.STAND_IN})


def _onnx_classifier(size: int, outputs: int) -> Callable[[Path, int], None]:
    """A writer of picture [1, 3, size, size] -> [1, outputs]: one strided convolution, its mean, one linear layer."""

    def save(path: Path, seed: int) -> None:
        from onnx import helper

        nodes = [
            helper.make_node("Conv", ["input", "w0"], ["a"], strides=[8, 8]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("GlobalAveragePool", ["b"], ["c"]),
            helper.make_node("Flatten", ["c"], ["d"]),
            helper.make_node("Gemm", ["d", "w1"], ["output"], transB=1),
        ]
        _save_onnx(path, nodes, [1, 3, size, size], [1, outputs], {"w0": (16, 3, 8, 8), "w1": (outputs, 16)}, seed)

    return save


def _onnx_skin_mask(path: Path, seed: int) -> None:
    """Picture [H, W, 3] in 0..255 -> [H, W, 1] in 0..255."""
    from onnx import helper

    nodes = [
        helper.make_node("ReduceMean", ["input"], ["grey"], axes=[2], keepdims=1),
        helper.make_node("Mul", ["grey", "w0"], ["bent"]),
        helper.make_node("Clip", ["bent", "low", "high"], ["output"]),
    ]
    constants = {"low": np.float32(0), "high": np.float32(255)}
    _save_onnx(path, nodes, ["height", "width", 3], ["height", "width", 1], {"w0": (1,)}, seed, constants)


def _save_onnx(
    path: Path, nodes: list[NodeProto], inputs: list, outputs: list, shapes: dict, seed: int, constants: dict | None = None
) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = {name: value.numpy() for name, value in make({n: (s, torch.float32) for n, s in shapes.items()}, seed).items()}
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, outputs)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in {**weights, **(constants or {})}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {files.MARK: files.STAND_IN})
    onnx.save(model, path)


OTHER_FILES = {
    "rot_bgr": _onnx_classifier(224, 4),
    "fqa": _onnx_classifier(112, 8),
    "skin_mask": _onnx_skin_mask,
    "fusion_alpha": _alpha_picture,
    "fusion_bfm": _face_model,
}

"""Published files behind which no network of ours stands: pictures, LoRAs, base models, ControlNets, and what only upstream reads."""

from __future__ import annotations

from functools import partial

from ..networks.published import Entry, Licence
from ..networks.sources import APACHE, CARD, FACT, FUSION_REPO, PORTRAIT_REPO, SADTALKER_REPO, SKIN, UNKNOWN

OPENPOSE = Licence("CMU OpenPose", False)
OPENRAIL = Licence("CreativeML OpenRAIL-M", True, "within its use restrictions")
OPENRAIL_XL = Licence("CreativeML OpenRAIL++-M", True, "within its use restrictions")

CONTROL_REPO = ("damo/face_chain_control_model", "v1.0.1")
DWPOSE_REPO = ("damo/face_chain_control_model", "v1.0.2")
STYLE_REPO = ("ly261666/cv_wanx_style_model", "v1.0.3")

ALPHA = Entry("fusion_alpha", "Face fusion, blending mask", *FUSION_REPO, "alpha.jpg", CARD)
GFPGAN = Entry(
    "gfpgan", "Talking head, enhancer GFPGAN v1.4", *SADTALKER_REPO, "gfpgan/weights/GFPGANv1.4.pth",
    Licence("Apache-2.0", False, "contains StyleGAN2 parts for research and evaluation only"), folder="upscale_models", megabytes=348.6,
)  # fmt: skip
FACE_LORA = Entry("face_frombase_c4", "Common start of face LoRAs, rank 4", "damo/face_frombase_c4", "v1.0.0", "face_frombase_c4.bin", CARD)

PORTRAIT = (
    Entry("base_sd15", "Stable Diffusion 1.5", "AI-ModelScope/stable-diffusion-v1-5", "master", "v1-5-pruned-emaonly.safetensors", OPENRAIL,
          folder="checkpoints", megabytes=4265.1, sha256="6ce0161689b3853acaa03779ec93eafe75a02f4ced659bee03f50797806fa2fa",
          instead_of=("v1-5-pruned-emaonly-fp16.safetensors",)),
    Entry("base_film", "Base 0, leosamsMoonfilm_filmGrain20", PORTRAIT_REPO, "v2.0", "film/film/", OPENRAIL, folder="diffusers",
          subfolder="leosamsMoonfilm_filmGrain20", note="base model of FaceChain's face LoRAs"),
    Entry("base_majic", "Base 1, majicmixRealistic v6", "MAILAND/majicmixRealistic_v6", "v1.0.0", "realistic/", OPENRAIL,
          folder="diffusers", subfolder="majicmixRealistic_v6", note="mirror of YorickHe/majicmixRealistic_v6, which was deleted"),
    Entry("base_sdxl", "Base 2, Stable Diffusion XL 1.0", "AI-ModelScope/stable-diffusion-xl-base-1.0", "v1.0.9",
          "sd_xl_base_1.0.safetensors", OPENRAIL_XL, folder="checkpoints", megabytes=6940),
    Entry("style_id_photo", "Default style LoRA, ID photo", "Cherrytest/zjz_mj_jiyi_small_addtxt_fromleo", "v1.0.0",
          "zjz_mj_jiyi_small_addtxt_fromleo.safetensors", UNKNOWN, folder="loras"),
    Entry("style_inpaint", "Style LoRA of the inpainting", *STYLE_REPO, "zjz_mj_jiyi_small_addtxt_frommajicreal.safetensors", UNKNOWN,
          folder="loras"),
    Entry("lcm_sd15", "LCM LoRA for SD 1.5", "eavesy/lcm-lora-sdv1-5", "master", "pytorch_lora_weights.safetensors", OPENRAIL_XL,
          folder="loras", subfolder="lcm-lora-sdv1-5"),
    Entry("lcm_sdxl", "LCM LoRA for SDXL", "AI-ModelScope/lcm-lora-sdxl", "master", "pytorch_lora_weights.safetensors", OPENRAIL_XL,
          folder="loras", subfolder="lcm-lora-sdxl"),
    Entry("controlnet_openpose", "ControlNet openpose", *CONTROL_REPO, "model_controlnet/control_v11p_sd15_openpose/", OPENRAIL,
          folder="controlnet", subfolder="control_v11p_sd15_openpose", instead_of=("control_v11p_sd15_openpose_fp16.safetensors",)),
    Entry("controlnet_depth", "ControlNet depth", *CONTROL_REPO, "model_controlnet/control_v11p_sd15_depth/", OPENRAIL,
          folder="controlnet", subfolder="control_v11p_sd15_depth"),
    Entry("controlnet_canny", "ControlNet canny", *STYLE_REPO, "contronet-canny/", OPENRAIL, folder="controlnet",
          subfolder="contronet-canny", instead_of=("control_v11p_sd15_canny_fp16.safetensors",)),
)  # fmt: skip

_upstream = partial(Entry, upstream_only=True)
_pose = "upstream's pose annotator; pose pictures come from the host's own nodes"
_graphs = "TensorFlow graphs, which the pack does not run"
UPSTREAM_ONLY = (
    _upstream("openpose_body", "OpenPose annotator, body", *CONTROL_REPO, "model_controlnet/ControlNet/body_pose_model.pth", OPENPOSE,
              megabytes=209, note=_pose),
    _upstream("openpose_hand", "OpenPose annotator, hands", *CONTROL_REPO, "model_controlnet/ControlNet/hand_pose_model.pth", OPENPOSE,
              megabytes=147, note=_pose),
    _upstream("openpose_face", "OpenPose annotator, face", *CONTROL_REPO, "model_controlnet/ControlNet/facenet.pth", OPENPOSE,
              megabytes=154, note=_pose),
    _upstream("dpt_large", "Depth DPT-Large", *CONTROL_REPO, "model_controlnet/dpt-large/", APACHE, megabytes=1370,
              note="upstream's depth; depth pictures come from the host's own nodes"),
    _upstream("dwpose_yolox", "DWPose, person detector", *DWPOSE_REPO, "dwpose_models/yolox_l.onnx", APACHE, megabytes=217),
    _upstream("dwpose_pose", "DWPose, 133 points", *DWPOSE_REPO, "dwpose_models/dw-ll_ucoco_384.onnx", APACHE, megabytes=134),
    _upstream("super_resolution", "Super-resolution RRDB x4", "damo/cv_rrdb_image-super-resolution", "master", "pytorch_model.pt", CARD,
              folder="upscale_models", subfolder="cv_rrdb_image-super-resolution",
              note="for the host's own Upscale Image (using Model)"),
    _upstream("cartoon_2d", "Cartoon, 2-D", "damo/cv_unet_person-image-cartoon_compound-models", "master", "./", CARD, note=_graphs),
    _upstream("cartoon_3d", "Cartoon, 3-D", "damo/cv_unet_person-image-cartoon-3d_compound-models", "master", "./", CARD, note=_graphs),
    _upstream("skin_mask_tf", "Skin mask of v1.0, TensorFlow", "damo/cv_unet_skin-retouching", "v1.0.0", "tf_graph.pb", SKIN,
              note="TensorFlow graph; skin_mask replaces it"),
    _upstream("fusion_detector_tf", "Face detector of the v1.0 fusion, TensorFlow", "damo/cv_unet-image-face-fusion_damo", "v1.0.0",
              "detector.pb", CARD, note="TensorFlow graph; damofd replaces it"),
    _upstream("fusion_keypoints_tf", "Landmarks of the v1.0 fusion, TensorFlow", "damo/cv_unet-image-face-fusion_damo", "v1.0.0",
              "keypoints.pb", CARD, note="TensorFlow graph; damofd replaces it"),
    _upstream("fact_adapter_majic_25", "FACT, older adapter for majicmix", "iic/face_chain_fact_model", "v1.0.0", "adapter_maj_25.ckpt",
              FACT, note="older build; fact_adapter_majic replaces it"),
)  # fmt: skip

"""The one list of published files: id, revision, file, licence, and what needs it.

Sizes and hashes are those that public sources document; a file without them is compared with its network's layout only.
"""

from __future__ import annotations

from difflib import get_close_matches

from ..errors import BadInput
from ..networks.published import Entry, Licence, Part

CARD = Licence("Apache-2.0 on the model card", None, "unconfirmed, and the card does not cover the training data")
FACES = Licence("Apache-2.0 on the model card", False, "trained on MS1M faces, which are for research only")
M2FP = Licence("CC BY-NC 4.0", False)
FAIRFACE = Licence("CC BY 4.0", True, "naming the FairFace authors")
RETINAFACE = Licence("MIT", None, "trained on WIDER FACE, which is for research")
SKIN = Licence("Apache-2.0 on the model card", False, "trained on CRHD-3K, which is non-commercial")
CURRICULAR = Licence("MIT", False, "trained on MS1M faces, which are for research only")
RECON = Licence("MIT", False, "trained with the Basel Face Model")
BFM = Licence("Basel Face Model", False, "its owners, the University of Basel, ask you to register")
GPEN = Licence("none published", False, "its authors ask to be contacted for commercial use")
DANBOORU = Licence("MIT", True)
FACT = Licence("none published", False, "trained on MS1M faces, which are for research only")
SADTALKER = Licence("Apache-2.0", False, "the renderer derives from CC BY-NC 4.0 work, the audio encoder from non-commercial LRS2 data")
FAN = Licence("Apache-2.0", None, "trained on WFLW, which is for research")
GFPGAN = Licence("Apache-2.0", False, "contains StyleGAN2 parts for research and evaluation only")
PARSENET = Licence("MIT", False, "trained on CelebAMask-HQ, which is non-commercial")
OPENPOSE = Licence("CMU OpenPose", False)
OPENRAIL = Licence("CreativeML OpenRAIL-M", True, "within its use restrictions")
OPENRAIL_XL = Licence("CreativeML OpenRAIL++-M", True, "within its use restrictions")
APACHE = Licence("Apache-2.0", True)
UNKNOWN = Licence("none found", None, "ask its author")

SKIN_REPO = {"repo": "damo/cv_unet_skin_retouching_torch", "revision": "v1.0.1", "licence": SKIN}
FUSION_REPO = {"repo": "damo/cv_unet_face_fusion_torch", "revision": "v1.0.3", "needed_by": ("FaceFusion", "TwoStageInpaint")}
FACT_REPO = {
    "repo": "yucheng1996/FaceChain-FACT",
    "revision": "v1.0.0",
    "licence": FACT,
    "needed_by": ("no node yet: train-free identity",),
}
TALK_REPO = {"repo": "wwd123/sadtalker", "revision": "v1.0.0", "needed_by": ("SadTalker",)}
CONTROL_REPO = {"repo": "damo/face_chain_control_model", "revision": "v1.0.1"}
DWPOSE_REPO = {"repo": "damo/face_chain_control_model", "revision": "v1.0.2", "licence": APACHE}
OPENPOSE_REPO = {**CONTROL_REPO, "licence": OPENPOSE, "note": "upstream's pose annotator; pose pictures come from the host's own nodes"}
PORTRAIT_REPO = "ly261666/cv_portrait_model"
FACT_ADAPTER = {"network": "fact:FactAdapter", "optional": (".processor.ln.",), **FACT_REPO}
SADTALKER_PARTS = (
    Part("keypoints", "kp_extractor.", "sadtalker.keypoints:KeyPoints"),
    Part("generator", "generator.", "sadtalker.generator:Generator"),
    Part("expression", "audio2exp.", "sadtalker.audio:ExpNet"),
    Part("pose", "audio2pose.", "sadtalker.audio:PoseVAE"),
    Part("reconstruction", "face_3drecon.", "recon:FaceReconstruction"),
)

PERCEPTION = (
    Entry("rot_bgr", "Whole-picture rotation", "Cherrytest/rot_bgr", "v1.0.0", "rot_bgr.onnx", UNKNOWN,
          ("FaceAlign: rotate whole picture",), megabytes=42.6),
    Entry("damofd", "Face detector DamoFD-0.5G", "damo/cv_ddsar_face-detection_iclr23-damofd", "v1.1", "pytorch_model.pt", APACHE,
          ("FaceAlign and every node with the detector DamoFD", "RTSRank", "FaceFusion"), "damofd:DamoFD", key="state_dict",
          megabytes=1.1),
    Entry("rts", "Face recognition RTS", "damo/cv_ir_face-recognition-ood_rts", "v2.5", "pytorch_model.pt", FACES,
          ("RTSRank", "PickFaces", "TrainFaceLoRA and TwoStageInpaint: likeness"), "rts:RTS", megabytes=192.9),
    Entry("m2fp", "Human parsing M2FP", "damo/cv_resnet101_image-multiple-human-parsing", "v1.0.1", "pytorch_model.pt", M2FP,
          ("FaceAlign: head mask", "TwoStageInpaint"), "m2fp.parser:M2FP", key="model", ignore=("criterion.",), megabytes=723),
    Entry("fairface", "Age and gender, FairFace", "damo/cv_resnet34_face-attribute-recognition_fairface", "v2.0.2",
          "pytorch_model.pt", FAIRFACE, ("Tagger: automatic trigger",), "fairface:FairFace", megabytes=85.2),
    Entry("flcm", "Landmark confidence FLCM", "damo/cv_manual_facial-landmark-confidence_flcm", "v2.5", "pytorch_model.pt", CARD,
          ("FaceAlign: landmark confidence",), "flcm:FLCM", key="state_dict", megabytes=1.5),
    Entry("fqa", "Face quality FQA", "damo/cv_manual_face-quality-assessment_fqa", "v2.0", "model.onnx", CARD,
          ("RTSRank: choose the template face",)),
    Entry("retinaface", "Face detector RetinaFace R50", "damo/cv_resnet50_face-detection_retinaface", "v2.0.2", "pytorch_model.pt",
          RETINAFACE, ("FaceAlign: retouch",), "retinaface:RetinaFace", key="state_dict", megabytes=109.2),
    Entry("skin_unet", "Skin retouch ABPN, blend layer", path="pytorch_model.pt", key="generator", network="skin:SkinUNet",
          needed_by=("FaceAlign: retouch",), megabytes=53.6, sha256="760d0c0b…2993", **SKIN_REPO),
    Entry("skin_detection", "Skin retouch ABPN, blemish finder", path="joint_20210926.pth", key="detection_net",
          network="skin:DetectionUNet", needed_by=("FaceAlign: retouch, blemishes",), megabytes=216, sha256="c9e1388b…351a",
          **SKIN_REPO),
    Entry("skin_inpainting", "Skin retouch ABPN, blemish remover", path="joint_20210926.pth", key="inpainting_net",
          network="skin:RetouchingNet", needed_by=("FaceAlign: retouch, blemishes",), megabytes=216, sha256="c9e1388b…351a",
          **SKIN_REPO),
    Entry("skin_mask", "Skin retouch ABPN, skin mask", path="model.onnx", needed_by=("FaceAlign: retouch, whitening",),
          bytes=102_544_002, **SKIN_REPO),
    Entry("deepdanbooru", "Tagger DeepDanbooru v3", PORTRAIT_REPO, "v4.0", "model-resnet_custom_v3.pt", DANBOORU,
          ("Tagger: append tags",), "deepdanbooru:DeepDanbooru", megabytes=644),
)  # fmt: skip

FUSION = (
    Entry("fusion_aei", "Face fusion, generator AEI-Net", path="pytorch_model.pt", licence=CARD, network="aei:AEINet",
          key="state_dict", megabytes=896.6, **FUSION_REPO),
    Entry("fusion_arcface", "Face fusion, identity IR-100", path="faceRecog/CurricularFace_Backbone.pth", licence=CURRICULAR,
          network="ir100:IR100", megabytes=260.5, **FUSION_REPO),
    Entry("fusion_recon", "Face fusion, 3-D reconstruction", path="3dRecon/face_3d.pth", licence=RECON, network="recon:FaceReconstruction",
          key="net_recon", megabytes=96.1, **FUSION_REPO),
    Entry("fusion_gpen1024", "Face fusion, enhancement GPEN-1024", path="faceEnhance/GPEN-BFR-1024.pth", licence=GPEN,
          network="gpen:GPEN", megabytes=284.8, **FUSION_REPO),
    Entry("fusion_bfm", "Face fusion, Basel Face Model", path="BFM/BFM_model_front.mat", licence=BFM,
          note="only the 17 vertices of the jaw are read, and kept beside it", **FUSION_REPO),
    Entry("fusion_alpha", "Face fusion, blending mask", path="alpha.jpg", licence=CARD, **FUSION_REPO),
)  # fmt: skip

FACT_FILES = (
    Entry("transface", "FACT, identity encoder TransFace-S", path="ms1mv2_model_TransFace_S.pt", network="transface:TransFace",
          megabytes=346.7, **FACT_REPO),
    Entry("fact_adapter_film", "FACT, adapter for the film base",
          path="adapter_film_mask_large_new_reg001_faceshuffle_00290001.ckpt", **FACT_ADAPTER),
    Entry("fact_adapter_majic", "FACT, adapter for the majicmix base",
          path="adapter_maj_mask_large_new_reg001_faceshuffle_00290001.ckpt", **FACT_ADAPTER),
)  # fmt: skip

TALKING = (
    Entry("sadtalker_256", "Talking head, all networks at 256 px", path="checkpoints/SadTalker_V0.0.2_256.safetensors",
          licence=SADTALKER, parts=SADTALKER_PARTS, megabytes=725, **TALK_REPO),
    Entry("sadtalker_512", "Talking head, all networks at 512 px", path="checkpoints/SadTalker_V0.0.2_512.safetensors",
          licence=SADTALKER, parts=SADTALKER_PARTS, megabytes=725, **TALK_REPO),
    Entry("sadtalker_mapping_crop", "Talking head, head motion for crops", path="checkpoints/mapping_00229-model.pth.tar",
          licence=SADTALKER, network="sadtalker.mapping:MappingNet", key="mapping", megabytes=155, **TALK_REPO),
    Entry("sadtalker_mapping_full", "Talking head, head motion for whole pictures", path="checkpoints/mapping_00109-model.pth.tar",
          licence=SADTALKER, network="sadtalker.mapping:MappingNetFull", key="mapping", megabytes=155, **TALK_REPO),
    Entry("sadtalker_retinaface", "Talking head, face detector", path="gfpgan/weights/detection_Resnet50_Final.pth",
          licence=RETINAFACE, network="retinaface:RetinaFace", megabytes=109.4, **TALK_REPO),
    Entry("sadtalker_fan", "Talking head, 98 landmarks", path="gfpgan/weights/alignment_WFLW_4HG.pth", licence=FAN,
          network="fan:FAN", key="state_dict", megabytes=193, **TALK_REPO),
    Entry("gfpgan", "Talking head, enhancer GFPGAN v1.4", path="gfpgan/weights/GFPGANv1.4.pth", licence=GFPGAN, folder="upscale_models",
          megabytes=348.6, **TALK_REPO),
    Entry("parsenet", "Talking head, face parts for the enhancer", path="gfpgan/weights/parsing_parsenet.pth", licence=PARSENET,
          network="parsenet:ParseNet", megabytes=85.3, **TALK_REPO),
)  # fmt: skip

PORTRAIT = (
    Entry("face_frombase_c4", "Common start of face LoRAs, rank 4", "damo/face_frombase_c4", "v1.0.0", "face_frombase_c4.bin", CARD,
          ("TrainFaceLoRA: start from the common face",)),
    Entry("base_film", "Base 0, leosamsMoonfilm_filmGrain20", PORTRAIT_REPO, "v2.0", "film/film/", OPENRAIL, folder="diffusers",
          subfolder="leosamsMoonfilm_filmGrain20", note="base model of FaceChain's face LoRAs"),
    Entry("base_majic", "Base 1, majicmixRealistic v6", "MAILAND/majicmixRealistic_v6", "v1.0.0", "realistic/", OPENRAIL,
          folder="diffusers", subfolder="majicmixRealistic_v6", note="mirror of YorickHe/majicmixRealistic_v6, which was deleted"),
    Entry("base_sdxl", "Base 2, Stable Diffusion XL 1.0", "AI-ModelScope/stable-diffusion-xl-base-1.0", "v1.0.9",
          "sd_xl_base_1.0.safetensors", OPENRAIL_XL, folder="checkpoints", megabytes=6940),
    Entry("style_id_photo", "Default style LoRA, ID photo", "Cherrytest/zjz_mj_jiyi_small_addtxt_fromleo", "v1.0.0",
          "zjz_mj_jiyi_small_addtxt_fromleo.safetensors", UNKNOWN, folder="loras"),
    Entry("style_inpaint", "Style LoRA of the inpainting", "ly261666/cv_wanx_style_model", "v1.0.3",
          "zjz_mj_jiyi_small_addtxt_frommajicreal.safetensors", UNKNOWN, folder="loras"),
    Entry("lcm_sd15", "LCM LoRA for SD 1.5", "eavesy/lcm-lora-sdv1-5", "master", "pytorch_lora_weights.safetensors", OPENRAIL_XL,
          folder="loras", subfolder="lcm-lora-sdv1-5"),
    Entry("lcm_sdxl", "LCM LoRA for SDXL", "AI-ModelScope/lcm-lora-sdxl", "master", "pytorch_lora_weights.safetensors", OPENRAIL_XL,
          folder="loras", subfolder="lcm-lora-sdxl"),
    Entry("controlnet_openpose", "ControlNet openpose", path="model_controlnet/control_v11p_sd15_openpose/", licence=OPENRAIL,
          folder="controlnet", subfolder="control_v11p_sd15_openpose", **CONTROL_REPO),
    Entry("controlnet_depth", "ControlNet depth", path="model_controlnet/control_v11p_sd15_depth/", licence=OPENRAIL,
          folder="controlnet", subfolder="control_v11p_sd15_depth", **CONTROL_REPO),
    Entry("controlnet_canny", "ControlNet canny", "ly261666/cv_wanx_style_model", "v1.0.3", "contronet-canny/", OPENRAIL,
          folder="controlnet", subfolder="contronet-canny"),
)  # fmt: skip

UPSTREAM_ONLY = (
    Entry("openpose_body", "OpenPose annotator, body", path="model_controlnet/ControlNet/body_pose_model.pth", megabytes=209,
          **OPENPOSE_REPO),
    Entry("openpose_hand", "OpenPose annotator, hands", path="model_controlnet/ControlNet/hand_pose_model.pth", megabytes=147,
          **OPENPOSE_REPO),
    Entry("openpose_face", "OpenPose annotator, face", path="model_controlnet/ControlNet/facenet.pth", megabytes=154, **OPENPOSE_REPO),
    Entry("dpt_large", "Depth DPT-Large", path="model_controlnet/dpt-large/", licence=APACHE, megabytes=1370,
          note="upstream's depth; depth pictures come from the host's own nodes", **CONTROL_REPO),
    Entry("dwpose_yolox", "DWPose, person detector", path="dwpose_models/yolox_l.onnx", megabytes=217, **DWPOSE_REPO),
    Entry("dwpose_pose", "DWPose, 133 points", path="dwpose_models/dw-ll_ucoco_384.onnx", megabytes=134, **DWPOSE_REPO),
    Entry("super_resolution", "Super-resolution RRDB x4", "damo/cv_rrdb_image-super-resolution", "master", "pytorch_model.pt", CARD,
          folder="upscale_models", subfolder="cv_rrdb_image-super-resolution", note="for the host's own Upscale Image (using Model)"),
    Entry("cartoon_2d", "Cartoon, 2-D", "damo/cv_unet_person-image-cartoon_compound-models", "master", "./", CARD,
          note="TensorFlow graphs, which the pack does not run"),
    Entry("cartoon_3d", "Cartoon, 3-D", "damo/cv_unet_person-image-cartoon-3d_compound-models", "master", "./", CARD,
          note="TensorFlow graphs, which the pack does not run"),
    Entry("skin_mask_tf", "Skin mask of v1.0, TensorFlow", "damo/cv_unet_skin-retouching", "v1.0.0", "tf_graph.pb", SKIN,
          note="TensorFlow graph; skin_mask replaces it"),
    Entry("fusion_detector_tf", "Face detector of the v1.0 fusion, TensorFlow", "damo/cv_unet-image-face-fusion_damo", "v1.0.0",
          "detector.pb", CARD, note="TensorFlow graph; damofd replaces it"),
    Entry("fusion_keypoints_tf", "Landmarks of the v1.0 fusion, TensorFlow", "damo/cv_unet-image-face-fusion_damo", "v1.0.0",
          "keypoints.pb", CARD, note="TensorFlow graph; damofd replaces it"),
    Entry("fact_adapter_majic_25", "FACT, older adapter for majicmix", "iic/face_chain_fact_model", "v1.0.0", "adapter_maj_25.ckpt", FACT,
          note="older build; fact_adapter_majic replaces it"),
)  # fmt: skip

ENTRIES: tuple[Entry, ...] = (*PERCEPTION, *FUSION, *FACT_FILES, *TALKING, *PORTRAIT, *UPSTREAM_ONLY)
_BY_NAME = {entry.name: entry for entry in ENTRIES}


def get(name: str) -> Entry:
    """The entry of a short name, or of "file.part" for one network of a file. Raises BadInput with the nearest names."""
    base, _, part = name.partition(".")
    entry = _BY_NAME.get(base)
    if entry is None:
        near = get_close_matches(base, _BY_NAME, n=3) or sorted(_BY_NAME)
        raise BadInput(f"There is no published file called {name!r}. Did you mean {', '.join(near)}?")
    if part and part not in {one.name for one in entry.parts}:
        raise BadInput(f"{base} has no part {part!r}; it has {', '.join(one.name for one in entry.parts) or 'none'}.")
    return entry.part(part) if part else entry

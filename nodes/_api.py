"""The one import of the host's node API, so that pinning another version of it is one line."""

from comfy_api.latest import ComfyExtension, InputImpl, Types, io, ui
from comfy_execution.graph_utils import ExecutionBlocker

FaceChainFaces = io.Custom("FACECHAIN_FACES")
FaceChainLora = io.Custom("FACECHAIN_LORA")
FaceChainPerson = io.Custom("FACECHAIN_PERSON")
FaceLandmarks = io.Custom("FACE_LANDMARKS")
FaceDetectionModel = io.Custom("FACE_DETECTION_MODEL")
PoseKeypoint = io.Custom("POSE_KEYPOINT")

__all__ = [
    "ComfyExtension", "ExecutionBlocker", "FaceChainFaces", "FaceChainLora", "FaceChainPerson", "FaceDetectionModel", "FaceLandmarks",
    "InputImpl", "PoseKeypoint", "Types", "io", "ui",
]  # fmt: skip

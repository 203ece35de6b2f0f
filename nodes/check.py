"""Which published files are on this machine."""

from __future__ import annotations

from ..facechain_impl.weights import check, workflows
from ._api import io
from ._common import report_ui
from ._node import FaceChainNode


class ModelCheck(FaceChainNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceChain_ModelCheck",
            display_name="Check Models (FaceChain)",
            category="FaceChain/models",
            description="Lists every published file the pack can use: present, missing, damaged or stand-in, with its size, licence, "
            "folder and download command. Downloads nothing.",
            search_aliases=["weights", "models", "download", "missing"],
            inputs=[],
            outputs=[io.String.Output("report", tooltip="The table as text.")],
            is_output_node=True,
        )

    @classmethod
    def fingerprint_inputs(cls) -> str:
        return check.fingerprint() + workflows.fingerprint()

    @classmethod
    def execute(cls) -> io.NodeOutput:
        report = check.report()
        report.notes += workflows.commands()
        return io.NodeOutput(report.text(), ui=report_ui(report))

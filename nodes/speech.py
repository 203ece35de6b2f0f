"""Text to speech, listed only where the optional package edge-tts is installed."""

from __future__ import annotations

from ..facechain_impl.talking import speech_service
from ..facechain_impl.types import Report, Status
from ._api import io
from ._common import report_ui
from ._node import FaceChainNode


class TextToSpeech(FaceChainNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceChain_TextToSpeech",
            display_name="Text To Speech (Online)",
            category="FaceChain/talking",
            description="THE TEXT LEAVES THIS MACHINE: it is sent to an online service of Microsoft, which returns the speech. "
            "Present only where the package edge-tts is installed.",
            inputs=[
                io.String.Input("text", multiline=True, tooltip="The text to speak. It is sent to Microsoft."),
                io.String.Input(
                    "voice", default=speech_service.DEFAULT_VOICE, tooltip="Name of a voice, such as en-US-AriaNeural; edge-tts lists them."
                ),
                io.Int.Input("speed", default=0, min=-50, max=100, tooltip="Speaking rate, percent faster."),
                io.Int.Input("pitch", default=0, min=-50, max=50, tooltip="Pitch shift in Hz."),
            ],
            outputs=[io.Audio.Output(display_name="audio", tooltip="The speech, one channel.")],
        )

    @classmethod
    async def execute(cls, text: str, voice: str, speed: int, pitch: int) -> io.NodeOutput:
        report = Report("Text to speech")
        report.add(voice, Status.SPOKEN, "the text was sent to an online service of Microsoft", characters=len(text))
        return io.NodeOutput(await speech_service.speak(text, voice, speed, pitch), ui=report_ui(report))


NODES = [TextToSpeech] if speech_service.is_installed() else []

"""Loading photographs."""

from __future__ import annotations

from ..facechain_impl.errors import BadInput
from ..facechain_impl.host.memory import to_output
from ..facechain_impl.photos.load import load_photos
from ..facechain_impl.photos.sources import FILES, SAMPLE, SOURCES, TOP, chosen_files, fingerprint, folder_choices, names_in
from ..facechain_impl.picture_names import counted
from ..facechain_impl.types import Report, Status
from ._api import io
from ._common import report_ui
from ._node import FaceChainNode


class LoadPhotos(FaceChainNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="FaceChain_LoadPhotos",
            display_name="Load Photos",
            category="FaceChain/photos",
            description="Loads photos of a person: upright, in natural order, each with its name.",
            search_aliases=["load images", "folder", "batch", "dataset", "upload photos"],
            inputs=[
                io.Combo.Input(
                    "source", options=list(SOURCES), default=SAMPLE,
                    tooltip="The photo that comes with the pack, all pictures of a folder, or the files chosen below.",
                ),
                io.Combo.Input(
                    "folder", options=folder_choices(), default=TOP,
                    tooltip="For source Folder: a folder inside the input folder; a dot is the input folder itself.",
                ),
                io.String.Input(
                    "files", default="", multiline=True, placeholder="one file name per line",
                    tooltip="For source Files: pictures in the input folder, one name per line, in this order. Add photos uploads more.",
                ),
            ],
            outputs=[
                io.Image.Output("images", is_output_list=True, tooltip="The photos, each in its original size."),
                io.String.Output("names", is_output_list=True, tooltip="Their file names, in the same order."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, folder: str, files: str, source: str) -> bool | str:
        try:
            chosen_files(source, folder or TOP, files or "")
        except BadInput as problem:
            return str(problem)
        return True

    @classmethod
    def fingerprint_inputs(cls, source: str, folder: str, files: str) -> list[tuple[str, int, int]]:
        return fingerprint(chosen_files(source, folder, files))

    @classmethod
    def execute(cls, source: str, folder: str, files: str) -> io.NodeOutput:
        photos = load_photos(chosen_files(source, folder, files))
        report = Report(f"{counted(photos.images, 'photo')} loaded")
        for name, image in zip(photos.names, photos.images):
            report.add(name, Status.LOADED, width=image.shape[1], height=image.shape[0])
        for name, reason in photos.unreadable:
            report.add(name, Status.NOT_READ, reason)
        if source != FILES and (listed := names_in(files)):
            report.notes.append(f"Not loaded: {counted(listed, 'photo')} in files, because source is {source}. Set source to {FILES}.")
        if not photos.images:
            raise BadInput(f"None of the {len(photos.unreadable)} files can be read as a picture.\n{report.text()}")
        return io.NodeOutput([to_output(image)[None] for image in photos.images], photos.names, ui=report_ui(report))

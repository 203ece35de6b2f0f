"""`python run.py models list | check [NAME...] | get NAME... | get --for WORKFLOW | path NAME | verify [NAME...] | licences`."""

from __future__ import annotations

import argparse
import sys

from ..errors import BadInput, FaceChainError, MissingWeights
from ..networks.published import Entry
from ..types import Status
from . import catalogue, check, files, load, uses, workflows


def main(argv: list[str]) -> int:
    """Run one command; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except FaceChainError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:  # run.py says so
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="run.py models", description="The published files that the pack can use.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("list", help="every file with its size and licence").set_defaults(run=_list)
    check_parser = commands.add_parser("check", help="which files are here, missing or damaged; exit status 1 when one is damaged")
    check_parser.add_argument("names", nargs="*", metavar="NAME", help="only these")
    check_parser.set_defaults(run=_check)
    get = commands.add_parser("get", help="download files, licence first")
    get.add_argument("names", nargs="*", metavar="NAME", help="names as `list` shows them")
    get.add_argument("--for", dest="workflow", nargs="+", metavar="WORKFLOW", help="all that a shipped workflow needs, after one question")
    get.add_argument("--base", metavar="NAME", help="a base model, after a question")
    get.add_argument("--yes", action="store_true", help="answer the question with yes")
    get.set_defaults(run=_get)
    path = commands.add_parser("path", help="where a file is; exit status 1 when it is not here")
    path.add_argument("name", metavar="NAME", help="as `list` shows it")
    path.set_defaults(run=_path)
    verify = commands.add_parser("verify", help="download, compare with the catalogue, run each network, write one report")
    verify.add_argument("names", nargs="*", metavar="NAME", help="only these; without names every file that the pack runs")
    verify.add_argument("--report", default="facechain-verify.md", metavar="FILE", help="where to write the report (default: %(default)s)")
    verify.add_argument("--picture", metavar="FILE", help="the picture to run the networks on (default: the pack's sample photo)")
    verify.set_defaults(run=_verify)
    licences = commands.add_parser("licences", help="the table of the README: every file that the pack runs, in Markdown")
    licences.set_defaults(run=_licences)
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _list(arguments: argparse.Namespace) -> int:
    for entry in catalogue.ENTRIES:
        _say(f"{entry.name:24}{entry.title}\n{'':24}{entry.size_text}; {entry.licence.text()}")
        _say(f"{'':24}{entry.repo} {entry.revision} {entry.path}\n{'':24}{uses.purpose(entry)}")
    return 0


def _check(arguments: argparse.Namespace) -> int:
    entries = [catalogue.get(name) for name in arguments.names] or catalogue.ENTRIES
    report = check.report(entries)
    _say(report.title)
    for row in report.rows:
        _say(f"{row.status.value:10}{row.name:24}{row.values['size']:>16}  {row.reason}")
    return int(any(row.status is Status.DAMAGED for row in report.rows))


def _get(arguments: argparse.Namespace) -> int:
    if sum(map(bool, (arguments.names, arguments.workflow, arguments.base))) != 1:
        raise BadInput("Say what to get: names as `models list` shows them, or --for and a workflow, or --base and a base model.")
    if arguments.workflow:
        return _get_for(workflows.find(" ".join(arguments.workflow)), arguments.yes)
    if arguments.base:
        return _get_base(catalogue.base(arguments.base), arguments.yes)
    entries = [catalogue.get(name) for name in arguments.names]
    from . import download

    for entry in entries:
        download.get(entry.name, _say)
    return 0


def _get_for(title: str, yes: bool) -> int:
    """Everything that a workflow needs. Returns 1 where the answer is no."""
    from . import getting

    if not getting.get(f"{title} needs these files, which are not here:", workflows.wanted(title), yes, _say):
        return 1
    if choices := workflows.to_choose(title):
        _say(f"Choose in {title}:")
        for node, name in choices:
            _say(f"  {node}: {name}")
    for loader in workflows.not_published(title):
        _say(f"ComfyUI itself offers {loader.name} when it opens {title} (models/{loader.category}): {loader.source}")
    return 0


def _get_base(entry: Entry, yes: bool) -> int:
    from . import getting

    return int(not getting.get("This base model is not here yet:", [workflows.Wanted(entry, "training and portraits")], yes, _say))


def _path(arguments: argparse.Namespace) -> int:
    entry = catalogue.get(arguments.name)
    found = files.published(entry)
    if found is None:
        raise MissingWeights(load.missing_message(entry))
    _say(str(found))
    return 0


def _verify(arguments: argparse.Namespace) -> int:
    from .verify import report as verify

    return verify.run(arguments.names, arguments.report, arguments.picture, _say)


def _licences(arguments: argparse.Namespace) -> int:
    for entry in filter(uses.is_run, catalogue.ENTRIES):
        _say(f"| `{entry.name}` | {entry.title} | {entry.size_text.removeprefix('about ')} | {entry.licence.text()} |")
    return 0

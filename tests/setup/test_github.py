"""Issue forms, CI, publishing and pre-commit: they parse, and what they say of the repository is true."""

from __future__ import annotations

import re

import pytest
import yaml

from launcher import cli
from launcher.places import ROOT

FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"
WORKFLOWS = ROOT / ".github" / "workflows"
FILES = [*sorted((ROOT / ".github").rglob("*.yml")), ROOT / ".pre-commit-config.yaml"]
# What each kind of field of an issue form has to say.
FIELDS = {
    "markdown": {"value"},
    "input": {"label"},
    "textarea": {"label"},
    "dropdown": {"label", "options"},
    "checkboxes": {"label", "options"},
}


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(name: str) -> list[dict]:
    return [step for job in read(WORKFLOWS / name)["jobs"].values() for step in job.get("steps", [])]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_parses(path):
    assert read(path)


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_issue_forms_are_forms(name):
    form = read(FORMS / f"{name}.yml")
    assert form["name"] and form["description"]
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields)
    assert len({field["attributes"]["label"] for field in fields}) == len(fields)
    for field in form["body"]:
        assert FIELDS[field["type"]] <= field["attributes"].keys()
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_the_bug_form_asks_for_what_is_needed():
    asked = {field.get("id") for field in read(FORMS / "bug.yml")["body"]}
    assert {"what", "version", "host", "workflow", "log", "weights", "consent"} <= asked


def test_every_workflow_runs_pinned_actions_with_a_limit():
    for path in WORKFLOWS.glob("*.yml"):
        workflow = read(path)
        assert workflow[True], path.name  # `on` is a boolean in YAML 1.1
        assert workflow["permissions"] == {"contents": "read"}
        for job in workflow["jobs"].values():
            assert "uses" in job or (job["runs-on"] and job["timeout-minutes"] and job["steps"])
        for step in steps(path.name):
            assert "run" in step or re.search(r"@v\d", step["uses"])


def test_ci_runs_what_run_py_knows():
    commands = [step["run"] for step in steps("test.yml") if "run" in step]
    assert commands.count("sh .ci/run") == 1
    commands.remove("sh .ci/run")
    assert commands
    for command in commands:
        words = re.sub(r'-m "[^"]*"', "-m X", command).removeprefix("python run.py ").split()
        arguments, _ = cli._split(words)
        assert cli._parser().parse_args(arguments)


def test_ci_tries_every_python_that_run_py_takes():
    oldest, newest = (
        int(minor) for minor in re.search(r"\(3, (\d+)\), \(3, (\d+)\)", (ROOT / "run.py").read_text(encoding="utf-8")).groups()
    )
    tried = read(WORKFLOWS / "test.yml")["jobs"]["quick"]["strategy"]["matrix"]["python"]
    assert tried == [f"3.{minor}" for minor in range(oldest, newest + 1)]


def test_publishing_waits_for_the_tests_and_for_the_right_tag():
    publish = read(WORKFLOWS / "publish.yml")
    assert publish[True]["push"] == {"tags": ["v*"]}
    assert publish["jobs"]["test"]["uses"] == "./.github/workflows/test.yml"
    assert publish["jobs"]["publish"]["needs"] == "test"
    repository = re.search(r'Repository = "https://github.com/(\S+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))[1]
    assert publish["jobs"]["publish"]["if"] == f"github.repository == '{repository}'"
    (check,) = [step["run"] for step in steps("publish.yml") if "run" in step]
    assert 'version = \\"${GITHUB_REF_NAME#v}\\"' in check


def test_pre_commit_uses_the_linter_of_the_tests():
    pinned = re.search(r"^ruff==(\S+)$", (ROOT / "requirements-test.txt").read_text(encoding="utf-8"), re.MULTILINE)[1]
    (ruff,) = [entry for entry in read(ROOT / ".pre-commit-config.yaml")["repos"] if entry["repo"].endswith("ruff-pre-commit")]
    assert ruff["rev"] == f"v{pinned}"


def test_the_package_holds_none_of_it():
    ignored = (ROOT / ".comfyignore").read_text(encoding="utf-8").split()
    assert {".github/", "docs/", "CONTRIBUTING.md", ".pre-commit-config.yaml", "tests/", "bench/", ".ci/"} <= set(ignored)

import copy
import errno
import json
import subprocess
import sys

import pytest

from reports.__main__ import main


@pytest.fixture
def runs(two_runs, save):
    return [str(save(run, f"{name}.json")) for name, run in zip("ab", two_runs, strict=True)]


def test_gate_shows_and_writes(gate_document, save, tmp_path, capsys):
    # The outcome is a regression, and it was shown: whether it fails a build is the gate's affair.
    assert main(["gate", str(save(gate_document)), "--markdown", str(tmp_path / "new" / "comment.md")]) == 0
    words = capsys.readouterr().out
    assert words.splitlines()[0] == "base  main  1a2b3c4d  Shorter lines"
    assert "14 benchmarks are the same" in words
    markdown = (tmp_path / "new" / "comment.md").read_text(encoding="utf-8")
    assert markdown.startswith("<!-- moe-router-gate -->\n## Router benchmarks: Regression\n")
    assert main(["gate", str(save(gate_document)), "--all"]) == 0
    assert "router | random | r13" in capsys.readouterr().out


def test_compare_shows_and_writes(runs, tmp_path, capsys):
    assert main(["compare", *runs, "--markdown", str(tmp_path / "comment.md"), "--threshold", "7.5"]) == 0
    words = capsys.readouterr().out
    assert f"base  {runs[0]}" in words
    assert words.index("Weak evidence: these are unpaired times of two runs") < words.index("benchmark  ")
    assert words.endswith("3 same.\n")
    markdown = (tmp_path / "comment.md").read_text(encoding="utf-8")
    assert markdown.startswith("<!-- moe-router-compare -->\n")
    assert "> Weak evidence: " in markdown
    assert "beyond 7.5 %" in markdown


def test_nothing_in_common_is_three_and_one_line(two_runs, save, tmp_path, capsys):
    other = copy.deepcopy(two_runs[1])
    for entry in other["benchmarks"]:
        entry["extra_info"]["scenario"] = "training"
    files = [str(save(two_runs[0], "a.json")), str(save(other, "b.json"))]
    assert main(["compare", *files, "--markdown", str(tmp_path / "comment.md")]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"reports: {files[0]} and {files[1]} have no benchmark in common\n"
    assert not (tmp_path / "comment.md").exists()


def test_a_file_beside_itself_is_three_and_one_line(runs, capsys):
    assert main(["compare", runs[0], runs[0]]) == 3
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"reports: {runs[0]} and {runs[0]} are one and the same run\n")


@pytest.mark.parametrize(
    "words", [["compare", "a", "b", "--threshold=--"], ["gate", "a", "--markdown=--"], ["a", "-o--"]]
)
def test_dashes_are_no_value(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    assert f"{words[-1]}: '--' is no value" in capsys.readouterr().err


FOREIGN = '{"benchmarks": [{"name": "test_x", "extra_info": {}}], "machine_info": {}}'


@pytest.mark.parametrize("command", ["gate", "compare", "operating"])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file"),
        ("", "not JSON, or cut off"),
        ('{"kind": "gate", "schema": 1', "not JSON, or cut off"),
        ('{"kind": NaN}', "holds NaN"),
        ("[]", "no"),
        (FOREIGN, "no"),
        ('{"kind": "other", "schema": 1}', "no"),
    ],
)
def test_bad_input_is_one_line_and_nothing_written(command, content, reason, tmp_path, capsys):
    file = tmp_path / "in.json"
    if content is not None:
        file.write_text(content)
    before = sorted(tmp_path.rglob("*"))
    options = {
        "gate": ["--markdown", str(tmp_path / "c.md")],
        "compare": [str(file)],
        "operating": ["-o", str(tmp_path / "o")],
    }
    assert main([command, str(file), *options[command]]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith(f"reports: {file}: ")
    assert reason in line
    assert sorted(tmp_path.rglob("*")) == before


def test_files_of_another_kind_are_named(runs, gate_document, save, capsys):
    gate = str(save(gate_document, "gate.json"))
    for arguments, reason in (
        (["compare", gate, gate], "is a gate's result (for `python -m reports gate`), not a file of `pytest bench`"),
        (["compare", runs[0], gate], "gate.json: is a gate's result"),
        (["gate", runs[0]], "is a file of `pytest bench` (for `python -m reports` and `python -m reports compare`)"),
        (["operating", gate, "-o", "unused"], "is a gate's result"),
        ([gate], "is a gate's result"),
    ):
        assert main(arguments) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert reason in line


@pytest.mark.parametrize("threshold", ["0", "-1", "nan", "inf", "five"])
def test_a_threshold_that_is_none(runs, threshold, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["compare", *runs, "--threshold", threshold])
    assert stop.value.code == 2
    assert "not a percentage above zero" in capsys.readouterr().err


def test_a_folder_in_the_comments_place_is_one_line(gate_document, save, tmp_path, capsys):
    assert main(["gate", str(save(gate_document)), "--markdown", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"reports: {tmp_path}: is a directory\n"


def test_a_full_disk_leaves_the_earlier_comment(gate_document, save, tmp_path, capsys, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "comment.md").write_text("earlier")
    monkeypatch.setattr("reports.page.write.os.fsync", full)
    assert main(["gate", str(save(gate_document)), "--markdown", str(tmp_path / "comment.md")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "No space left on device" in captured.err
    assert (tmp_path / "comment.md").read_text() == "earlier"
    assert not list(tmp_path.glob(".report-*"))


def test_an_interrupt_is_one_line(gate_document, save, tmp_path, capsys, monkeypatch):
    def interrupt(comparison):
        raise KeyboardInterrupt

    monkeypatch.setattr("reports.commands.comparing.to_comment", interrupt)
    assert main(["gate", str(save(gate_document)), "--markdown", str(tmp_path / "comment.md")]) == 130
    assert capsys.readouterr().err == "reports: interrupted, nothing written\n"
    assert not (tmp_path / "comment.md").exists()


def test_a_comparison_is_shown_without_what_starts_slowly(gate_document, save):
    code = (
        "import sys; from reports.__main__ import main; "
        f"main(['gate', {str(save(gate_document))!r}]); "
        "print(sorted({name.partition('.')[0] for name in sys.modules} "
        "& {'matplotlib', 'pandas', 'numpy', 'scipy', 'jinja2', 'torch'}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.endswith("[]\n")


def test_a_terminal_without_micro_signs_still_gets_the_table(gate_document, save):
    command = [sys.executable, "-m", "reports", "gate", str(save(gate_document))]
    result = subprocess.run(command, capture_output=True, env={"PYTHONIOENCODING": "ascii", "PATH": ""}, check=True)
    assert b"883 ?s" in result.stdout


def test_every_command_has_help(capsys):
    for command in ("gate", "compare", "operating"):
        with pytest.raises(SystemExit) as stop:
            main([command, "--help"])
        assert stop.value.code == 0
        assert f"python -m reports {command}" in capsys.readouterr().out


def test_a_file_that_is_called_like_a_command_can_still_be_reported_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gate").write_text(json.dumps([]))
    assert main(["./gate", "-o", "out"]) == 2
    assert "not a pytest-benchmark file" in capsys.readouterr().err

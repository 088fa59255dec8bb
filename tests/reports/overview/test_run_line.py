from reports.overview.run_line import run_lines


def test_a_run_in_one_line(data):
    number = len(data.measurements)
    assert run_lines(data) == (
        "preset quick · Synthetic CPU (2 cores) · cpu · 1 thread · float32 · 2026-01-02 03:04 · commit 0000000000 · "
        f"{number} measurements",
    )


def test_the_commit_says_whether_it_was_clean_and_the_plan_how_much_there_is(load, bench):
    few = bench | {"benchmarks": bench["benchmarks"][:2], "commit_info": {"id": "ab" * 20, "dirty": True}}
    few["study"] = bench["study"] | {"planned": 148}
    (line,) = run_lines(load(few))
    assert line.endswith("commit ababababab, with uncommitted changes · 2 of 148 measurements")
    (line,) = run_lines(load(few | {"commit_info": {"id": "ab" * 20, "dirty": False}}))
    assert "commit ababababab, clean · " in line


def test_what_a_file_does_not_say_is_left_out(load, bench):
    bare = bench | {"benchmarks": bench["benchmarks"][:1], "machine_info": {}, "commit_info": {}, "datetime": None}
    bare["study"] = {name: value for name, value in bench["study"].items() if name not in ("device", "threads")}
    (line,) = run_lines(load(bare))
    assert line == "preset quick · an unknown machine · float32 · date unknown · commit unknown · 1 measurements"


def test_a_run_without_a_commit_says_so(load, bench):
    (line,) = run_lines(load(bench | {"commit_info": {"id": "unversioned", "dirty": False}}))
    assert "commit unknown · " in line


def test_several_files_have_a_line_each(tuned):
    first, second = run_lines(tuned)
    assert first.startswith(f"{tuned.sources[0].file}: preset quick · ")
    assert second == f"{tuned.sources[1].file}: fine-tuning · Synthetic CPU (2 cores) · 2026-01-02 03:04 · 50 steps"

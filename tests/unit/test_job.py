"""How jobs end: exit code, one line, and a summary in every case."""

import errno
import json
import os
import signal
import subprocess
import sys

import pytest

from eespark.errors import CapacityError, FormatError, LeakError, ManifestError, MissingError, SettingsError, TooManyFailuresError
from eespark.job import JobSettings, run_job


@pytest.fixture
def run(tmp_path, monkeypatch, caplog):
    """Runs a job whose work is given; its exit code, its summary, and the lines of its log at INFO and above."""

    def job(work, check=None, level="INFO"):
        (tmp_path / "job.yaml").write_text(f"summary: {tmp_path}/summary.json\nlog_level: {level}\n")
        monkeypatch.setattr(sys, "argv", ["job.py", str(tmp_path / "job.yaml")])
        with pytest.raises(SystemExit) as ended:
            run_job("trying", JobSettings, work, check)
        file = tmp_path / "summary.json"
        lines = [record.getMessage() for record in caplog.records if record.levelname in ("INFO", "ERROR")]
        return ended.value.code, json.loads(file.read_text()) if file.is_file() else None, lines

    return job


def raising(error):
    def work(_):
        raise error

    return work


def test_that_a_job_that_is_done_ends_with_0_and_its_counts(run):
    code, summary, lines = run(lambda _: {"rows": 3})
    assert code == 0
    assert (summary["status"], summary["job"], summary["rows"]) == ("done", "trying", 3)
    assert "error" not in summary
    assert len(lines) == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("as told"), 2),
        (MissingError("as told"), 2),
        (FormatError("as told"), 2),
        (ManifestError("as told"), 2),
        (LeakError("as told"), 2),
        (TooManyFailuresError("as told"), 3),
        (CapacityError("as told"), 4),
    ],
)
def test_that_each_kind_of_error_has_its_code_one_line_and_a_summary(run, error, code):
    found, summary, lines = run(raising(error))
    assert found == code
    assert (summary["status"], summary["error"], summary["exit_code"]) == ("failed", "as told", code)
    assert "stack" not in summary
    assert lines[-1] == "trying: as told"


def test_that_counts_of_what_was_written_come_with_too_many_failures(run):
    error = TooManyFailuresError("2 of 3 failed")
    error.summary = {"products_read": 1}
    code, summary, _ = run(raising(error))
    assert (code, summary["products_read"], summary["error"]) == (3, 1, "2 of 3 failed")


def test_that_what_nobody_expected_ends_with_1_and_the_stack_is_in_the_summary(run):
    code, summary, lines = run(lambda _: {}["rows"])
    assert (code, summary["status"], summary["exit_code"]) == (1, "failed", 1)
    assert summary["error"] == "unexpected KeyError: 'rows'"
    assert "test_job.py" in summary["stack"]
    assert lines[-1] == "trying: unexpected KeyError: 'rows'; the summary holds the stack, please report it"


def test_that_an_error_of_many_lines_is_told_by_its_first(run):
    _, summary, lines = run(raising(RuntimeError("first\n\tat Java.scala:1\n\tat Java.scala:2")))
    assert summary["error"] == "unexpected RuntimeError: first"
    assert "Java.scala:2" in summary["stack"]
    assert not any("Java.scala" in line for line in lines)


def test_that_the_stack_is_in_the_log_of_who_asks_for_details(run, caplog):
    run(raising(FormatError("as told")), level="DEBUG")
    (record,) = [one for one in caplog.records if one.levelname == "DEBUG"]
    assert record.exc_info[1].args == ("as told",)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_that_a_full_disk_is_told_with_what_is_free(run, tmp_path, number):
    code, summary, _ = run(raising(OSError(number, os.strerror(number), str(tmp_path / "x"))))
    assert code == 4
    assert summary["error"].startswith(f"needed room to write, found none: OSError: [Errno {number}] {os.strerror(number)}")
    assert f"{tmp_path / 'x'}'; make room" in summary["error"]
    assert " MB)" in summary["error"]


def test_that_other_errors_of_the_system_are_unexpected(run):
    code, summary, _ = run(raising(OSError(errno.EIO, "Input/output error")))
    assert (code, summary["error"]) == (1, "unexpected OSError: [Errno 5] Input/output error")


def test_that_too_little_memory_is_a_matter_of_capacity(run):
    code, summary, _ = run(raising(MemoryError("Unable to allocate 3 GiB")))
    assert code == 4
    assert summary["error"].startswith("needed more memory than there is: Unable to allocate 3 GiB")


@pytest.fixture
def heeded_interrupts():
    """Interrupts as in a terminal; in the background of a script they are ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeded_interrupts")
@pytest.mark.parametrize(("number", "code", "told"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "interrupted")])
def test_that_a_signal_lets_the_job_clean_up_and_tell(run, number, code, told):
    cleaned = []
    before = signal.getsignal(signal.SIGTERM)

    def work(_):
        try:
            os.kill(os.getpid(), number)
            signal.pause()
        finally:
            cleaned.append(True)

    found, summary, lines = run(work)
    assert (found, summary["status"], summary["exit_code"]) == (code, "failed", code)
    assert told in summary["error"]
    assert told in lines[-1]
    assert cleaned == [True]
    assert signal.getsignal(signal.SIGTERM) == before


def test_that_a_failing_check_of_the_inputs_has_a_summary_too(run):
    code, summary, _ = run(lambda _: {}, check=raising(MissingError("no archive")))
    assert (code, summary["status"], summary["error"]) == (2, "failed", "no archive")


def test_that_a_summary_that_cannot_be_written_hides_no_reason(run, tmp_path):
    (tmp_path / "summary.json").mkdir()
    code, _, lines = run(raising(FormatError("as told")))
    assert code == 2
    assert lines[-2].startswith(f"trying: no summary could be written to {tmp_path}/summary.json: ")
    assert lines[-1] == "trying: as told"


def test_that_work_whose_summary_cannot_be_written_did_not_end_well(run, tmp_path):
    (tmp_path / "summary.json").mkdir()
    code, _, lines = run(lambda _: {"rows": 3})
    assert code == 1
    assert "IsADirectoryError" in lines[-1]


def test_that_settings_that_cannot_be_read_end_a_process_with_2_and_no_stack(tmp_path):
    (tmp_path / "job.yaml").write_text("summary: x\nlog_level: LOUD\nspeed: 3\n")
    (tmp_path / "job.py").write_text("from eespark.job import JobSettings, run_job\nrun_job('trying', JobSettings, lambda _: {})\n")
    told = subprocess.run([sys.executable, "job.py", "job.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "speed: Extra inputs are not permitted" in told.stderr
    assert "log_level: String should match pattern" in told.stderr
    assert "Traceback" not in told.stderr

"""The output of commands cannot control the terminal, and an ASCII terminal is enough for it."""

import os
import subprocess
import sys

from dcube.printable import printable
from tests.support.registered_model import write_picture

EVIL = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\ra\u202eb.png"


def test_control_characters_except_colours_are_escaped():
    assert printable("\x1b[1mbold\x1b[0m\ttab\n") == "\x1b[1mbold\x1b[0m\ttab\n"
    assert printable(EVIL) == r"\x1b]52;c;ZXZpbA==\x07\x1b[2J\ra\u202eb.png"


def test_names_in_brackets_are_not_taken_for_styles(run_dcube, tmp_path):
    for number, name in enumerate(("[/x]", "[red]normal[/red]")):
        write_picture(tmp_path / name / f"[/b]{number}.png", number)
        (tmp_path / name / "[/broken].png").write_text("no image")
    code, shown = run_dcube("data", "check", str(tmp_path))
    assert code in (0, 2) and "[/x]" in shown and "[red]normal[/red]" in shown and "[/broken].png" in shown


def test_account_without_a_home_directory_gets_a_hint():
    program = """
import pathlib, pwd
from dcube.errors import one_line_errors
def unknown(number): raise KeyError(number)
pwd.getpwuid = unknown
with one_line_errors():
    pathlib.Path.home()
"""
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("error: this account has no home directory: set HOME")


def test_redirected_output_is_written_line_by_line():
    program = """
import time
from dcube.runtime.processes import prepare_process
prepare_process()
print("first line")
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "first line\n"
        process.kill()


def test_any_text_can_be_printed_on_an_ascii_terminal():
    """Through `one_line_errors`, as in all commands and stages."""
    program = """
from dcube.errors import DcubeError, one_line_errors
with one_line_errors():
    print(sys.argv[1])
    raise DcubeError(sys.argv[1])
"""
    environment = os.environ | {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-c", f"import sys{program}", f"{EVIL}\u4e2d"]
    done = subprocess.run(command, env=environment, capture_output=True)
    shown = printable(EVIL) + r"\u4e2d"
    assert (done.returncode, done.stdout.decode(), done.stderr.decode()) == (2, f"{shown}\n", f"error: {shown}\n")

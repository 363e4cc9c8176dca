"""How benchmarks end: a line and a code, no traceback."""

from __future__ import annotations

import pytest

from personatune.errors import UserError


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [(UserError("no run 'x' there"), 2, "no run 'x' there\n"), (KeyboardInterrupt(), 130, "\nstopped; the same")],
)
def test_a_mistake_and_ctrl_c_end_with_a_line_and_a_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from sides.command import benchmark

    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        benchmark(main)
    assert ended.value.code == code
    assert capsys.readouterr().err.startswith(line)


def test_an_error_of_ours_keeps_its_traceback() -> None:
    from sides.command import benchmark

    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        benchmark(main)

"""The one failure of this package; jobs translate it into the application's own error."""

from __future__ import annotations


class NumericsFailure(ValueError):
    """The tensors do not allow the computation: NaN, infinity, shapes that do not fit, a singular matrix.

    `detail` says what was met and where; `hint` what can be done about it.
    """

    def __init__(self, detail: str, *, hint: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint

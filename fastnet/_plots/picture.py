"""A picture as a file, and the style that all pictures have in common.

Colours are those of Okabe and Ito, which people with any kind of colour vision can distinguish.
"""

import io
import os
from _collections_abc import Callable

from fastnet._escape import escaped
from fastnet._reference import reference
from fastnet._replaced import ReplacedFile
from fastnet._typing import Any
from fastnet.errors import InvalidArgument

__all__ = ["BLUE", "DARK", "GREY", "ORANGE", "PURPLE", "VERMILION", "Picture", "ms_text", "shortened"]

BLUE, ORANGE, VERMILION, PURPLE = "#0072b2", "#e69f00", "#d55e00", "#cc79a7"
DARK, GREY = "#333333", "#bbbbbb"
_DPI = 120
_FORMATS = {
    # Without the time and the version of matplotlib, the same results give the same bytes.
    ".png": ("agg", {"Software": None}),
    ".svg": ("svg", {"Date": None, "Creator": None}),
}
_STYLE = {
    "font.size": 9,
    "text.parse_math": False,  # a name may have any character
    "svg.hashsalt": "fastnet",
    "text.color": DARK,
    "axes.labelcolor": DARK,
    "axes.edgecolor": DARK,
    "xtick.color": DARK,
    "ytick.color": DARK,
}


class Picture(ReplacedFile):
    """The file at ``path``, a PNG or an SVG by its ending.

    No display is used, nor the user's settings of matplotlib. Raises InvalidArgument for another ending or
    anything but a regular file, EngineMissing without matplotlib.
    """

    def __init__(self, path: str) -> None:
        ending = os.path.splitext(path)[1].lower()
        if ending not in _FORMATS:
            raise InvalidArgument(f"{path or repr(path)}: expected a name that ends with .png or .svg")
        super().__init__(path)
        import logging

        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # where it can't keep its cache, for example
        self._format = ending[1:]
        self._backend, self._metadata = _FORMATS[ending]
        self._matplotlib = reference("matplotlib")
        self._figure = reference("matplotlib.figure")
        reference(f"matplotlib.backends.backend_{self._backend}")

    def write(self, width: int, height: int, draw: Callable[[Any], None]) -> None:
        """Replace the file by what ``draw`` draws on a figure of so many pixels. Raises OSError."""
        import warnings

        content = io.BytesIO()
        with warnings.catch_warnings(), self._matplotlib.rc_context():
            warnings.simplefilter("ignore")  # of characters that the font lacks
            self._matplotlib.rcdefaults()
            self._matplotlib.rcParams.update(_STYLE)
            figure = self._figure.Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
            draw(figure)
            figure.savefig(content, format=self._format, metadata=self._metadata)
        self.replace(content.getvalue())


def ms_text(ms: float) -> str:
    """``0.0412 ms``, ``41.2 ms``, ``4,120 ms``."""
    return f"{ms:.3g} ms" if ms < 999.5 else f"{ms:,.0f} ms"


def shortened(text: str, longest: int) -> str:
    """The text, escaped, without its middle if it is long."""
    text = escaped(text)
    if len(text) <= longest:
        return text
    half = (longest - 1) // 2
    return f"{text[:half]}…{text[-half:]}"

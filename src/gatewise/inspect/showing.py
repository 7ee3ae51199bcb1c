"""What every measure can do in a notebook: show itself."""

from __future__ import annotations


class Shown:
    """A measure, or a part of one, which a notebook shows as HTML."""

    def _repr_html_(self) -> str:
        from gatewise.inspect.html import html_of

        return html_of(self)

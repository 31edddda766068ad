"""Leaves out the thoughts that some servers put into an answer, between tags at its beginning."""

from __future__ import annotations


class ThoughtFilter:
    """Reads one answer, whole or piece by piece. Only what stands before everything else in the answer is a thought:
    the same tag further on is part of the text."""

    def __init__(self, tag: str) -> None:
        self._opening, self._closing = f"<{tag}>", f"</{tag}>"
        self._held = ""
        self._read = self._before

    def without(self, piece: str, *, is_last: bool) -> str:
        """The piece without thoughts. The beginning of an answer is held back while it may still be a tag."""
        return self._read(piece, is_last)

    def _before(self, piece: str, is_last: bool) -> str:
        self._held = (self._held + piece).lstrip()
        if self._held.startswith(self._opening):
            rest, self._held, self._read = self._held.removeprefix(self._opening), "", self._inside
            return self._read(rest, is_last)
        if is_last or not self._opening.startswith(self._held):
            self._read = self._text
            return self._held
        return ""

    def _inside(self, piece: str, is_last: bool) -> str:
        _, closed, rest = (self._held + piece).partition(self._closing)
        if closed:
            self._read = self._behind
            return self._read(rest, is_last)
        self._held = (self._held + piece)[-len(self._closing) :]
        return ""

    def _behind(self, piece: str, is_last: bool) -> str:
        """Between the thoughts and the text there may be empty lines."""
        if text := piece.lstrip():
            self._read = self._text
        return text

    def _text(self, piece: str, is_last: bool) -> str:
        return piece

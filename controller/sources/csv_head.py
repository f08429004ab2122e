"""The first line of a CSV file, read here since nothing about such a file is to be guessed from its rows."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from typing import TextIO

from controller.errors import ConfigError


def is_csv(path: str) -> bool:
    return path.removesuffix(".gz").endswith(".csv")


def open_csv(path: str) -> TextIO:
    """The file's text, line ends as they are."""
    if path.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
    return open(path, encoding="utf-8-sig", errors="replace", newline="")


@dataclass(frozen=True)
class Head:
    """What separates the columns, and their names."""

    delimiter: str
    names: tuple[str, ...]

    @staticmethod
    def of(path: str) -> Head:
        """
        Read it.

        Raises:
            ConfigError: there is none, or it names a column twice.
        """
        with open_csv(path) as file:
            line = file.readline().rstrip("\r\n")
        delimiter = max(",;\t|", key=line.count)
        names = tuple(next(csv.reader([line], delimiter=delimiter), []))
        if not names or not all(names) or len({name.casefold() for name in names}) < len(names):
            raise ConfigError(f"{path}, line 1: found {line[:60]!r}; a CSV file begins with the names of its columns")
        return Head(delimiter, names)

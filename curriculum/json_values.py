"""Turning what datasets hand out into plain JSON values."""

from __future__ import annotations

import datetime
import decimal
import enum
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def to_json_value(value: Any, where: str = "value") -> Any:
    """A copy of `value` made of dict, list, str, int, float, bool and None.

    Tuples become lists, sets sorted lists, keys strings, numpy values built-in ones, dates ISO 8601
    strings, decimals strings, and the floats that JSON lacks (NaN, infinities) None.

    Args:
        value: what a dataset returned.
        where: path to the value, for the error.

    Raises:
        TypeError: if a value has no JSON form, naming its path.
    """
    match value:
        case None | bool():
            return value
        case enum.Enum():
            return to_json_value(value.value, where)
        # Built-in copies, since subclasses such as numpy.str_ do not survive a change of process alike.
        case str():
            return str(value)
        case int():
            return int(value)
        case float():
            return float(value) if math.isfinite(value) else None
        case Mapping():
            return {_to_key(key): to_json_value(item, f"{where}.{key}") for key, item in value.items()}
        case list() | tuple():
            return [to_json_value(item, f"{where}[{index}]") for index, item in enumerate(value)]
        case set() | frozenset():
            return [to_json_value(item, f"{where}[...]") for item in sorted(value, key=repr)]
        case np.generic() | np.ndarray():
            return to_json_value(value.tolist(), where)
        case datetime.date() | datetime.time():
            return value.isoformat()
        case decimal.Decimal():
            return str(value)
        case _:
            kind = f"{type(value).__module__}.{type(value).__name__}"
            raise TypeError(f"{where} is a {kind}, which JSON cannot hold")


def _to_key(key: Any) -> str:
    return str(key.value if isinstance(key, enum.Enum) else key)

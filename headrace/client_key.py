"""A client's API key: where it comes from, and how it is sent. It is in no message and no repr."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from headrace.secret_file import secret_of

VARIABLE = "HEADRACE_API_KEY"
_printable = re.compile(r"[\x21-\x7e]{1,200}")


def key_of(given: str | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """The key that was given, else the environment's; None where there is neither. An empty text is none.

    `HEADRACE_API_KEY_FILE` may name a file that holds it. Raises `ValueError`, without the text, where it is none that
    can be sent.

    >>> key_of(None, {"HEADRACE_API_KEY": "hr_1_2"})
    'hr_1_2'
    """
    key = (secret_of(VARIABLE, environ) or environ.get(VARIABLE, "")) if given is None else given
    if key and not _printable.fullmatch(key):
        where = VARIABLE if given is None else "api_key"
        raise ValueError(f"{where} has {len(key)} characters and is no API key; give it as 'headrace keys create' did")
    return key or None


def bearer(key: str | None) -> dict[str, str]:
    """The header that sends a key; none where there is no key.

    >>> bearer("hr_1_2")
    {'authorization': 'Bearer hr_1_2'}
    """
    return {} if key is None else {"authorization": f"Bearer {key}"}

"""The snippets of docs/operations.md, and what has to be different in a test."""
import re

from gateway import ROOT

DOCUMENT = ROOT / "docs" / "operations.md"

# A fenced block whose info string has a language and a name.
BLOCK = re.compile(r"^```[a-z]+ ([a-z-]+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# The name that the snippets use, and the port of HTTPS.
HOST = "chat.example.org"

# Where the gateway and its admin server listen in the snippets.
GATEWAY, ADMIN = "127.0.0.1:9001", "127.0.0.1:9002"
SEVERAL = ("10.0.0.11", "10.0.0.12")
TOKEN = "0123456789abcdef"

UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def snippets():
    """The named blocks of the document."""
    found = BLOCK.findall(DOCUMENT.read_text(encoding="utf-8"))
    by_name = dict(found)
    if len(by_name) < len(found):
        raise AssertionError("two blocks of the document have one name")
    return by_name


def replaced(text, replacements):
    """The text with each key replaced by its value. A key that does not occur is an error."""
    for old, new in replacements.items():
        if old not in text:
            raise AssertionError(f"the snippet has no {old!r}:\n{text}")
        text = text.replace(old, str(new))
    return text


def with_section(text, pattern, section):
    """The text with the only match of the pattern replaced by a section."""
    text, count = re.subn(pattern, lambda _: section, text, flags=re.MULTILINE | re.DOTALL)
    if count != 1:
        raise AssertionError(f"{count} sections are like {pattern}:\n{text}")
    return text


def seconds(text):
    """A duration such as 30s, 2m or 500ms."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * UNITS[unit]


def only(pattern, text):
    """What the group of a pattern matches, which has to match once."""
    (found,) = re.findall(pattern, text)
    return found

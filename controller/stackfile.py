"""
A Pulumi stack file as bytes: what it declares, and edits of scalars below `pilot:rollout`.

Pure: bytes in, bytes and a list of changes out. YAML is parsed only to find where a scalar stands;
the edit splices the text, so what is outside the scalar survives byte for byte. Nothing is ever
dumped, and no key is ever added.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import yaml

from controller.errors import ConfigError
from controller.model import Change, Declared, Exposure, Intake, Rollout, Service

_SERVICE, _ROLLOUT = "config.pilot:service", "config.pilot:rollout"
_FLAGS, _COHORT, _PERCENT = f"{_ROLLOUT}.flags", f"{_ROLLOUT}.cohort", f"{_ROLLOUT}.percent"
_KEYS: Mapping[str, tuple[str, ...]] = {  # what is read of each mapping; () is whatever is there
    "": ("config",),
    "config": ("aws:region", "pilot:service", "pilot:rollout"),
    _SERVICE: ("cluster", "name", "image", "candidateImage", "healthUrl"),
    _ROLLOUT: ("percent", "exposure", "intake", "hold", "flags", "cohort"),
    _FLAGS: (),
}
_VALUES = {
    # YAML 1.1 reads 010 as 8 and YAML 1.2 as 10; \d would match the digits of every script.
    _PERCENT: ("0|[1-9][0-9]?|100", "a whole number from 0 to 100, no leading zero"),
    f"{_ROLLOUT}.exposure": ("|".join(Exposure), " or ".join(Exposure)),
    f"{_ROLLOUT}.intake": ("|".join(Intake), " or ".join(Intake)),
    f"{_ROLLOUT}.hold": (r"[^\ud800-\udfff]*", "text without lone surrogates"),
}
_WORD = ("[A-Za-z0-9][A-Za-z0-9._-]*", "a word of letters, digits, '.', '_' and '-'")
_SOMETHING = (r"[^\ud800-\udfff]+", "text that is not empty")
# What every version of YAML reads as text without quotes; anything else is written in quotes.
_PLAIN = r"(?ai)(?!(?:true|false|yes|no|on|off|null|y|n)\Z)[a-z][\w./-]*(?: [\w./-]+)*"
# Where libyaml and PyYAML may not read alike: other characters, tags, odd keys, block headers, flow other than plain.
_ODD = r"[^\n -~]|[?!{\[]|[|>][^ \n]|- - "
_ITEM = r"(?:[\w/][\w./@-]*|\"[\w ./:|-]+\")"
_FLOW = rf"(?a)\[(?:{_ITEM}(?:, {_ITEM})*)?\]|\{{\w+: {_ITEM}(?:, \w+: {_ITEM})*\}}"
_KINDS = {"mapping": "a mapping", "sequence": "a list", "scalar": "a single value"}
_yaml: Any = yaml  # its functions have no types
_FAST = getattr(yaml, "CSafeLoader", None)  # where PyYAML was built with libyaml
_PLACE = frozenset({"start_mark", "end_mark", "encoding"})  # of an event: where it was read, not what it says


def read(data: bytes, *, name: str) -> Declared:
    """
    What the stack file *data* declares; *name* is what errors call it.

    An unknown key of `pilot:rollout` is refused; one of `pilot:service` is the infrastructure's.

    Raises:
        ConfigError: with file, line, column and key path, what was found and what to write.
    """
    file = _file(data, name)
    service = Service(
        cluster=file.text(f"{_SERVICE}.cluster"),
        name=file.text(f"{_SERVICE}.name"),
        image=file.text(f"{_SERVICE}.image"),
        candidate_image=file.optional(f"{_SERVICE}.candidateImage"),
        health_url=file.optional(f"{_SERVICE}.healthUrl"),
    )
    region = file.optional("config.aws:region")
    return Declared(service=service, rollout=_rollout(file), region=region)


def splice(data: bytes, changes: Mapping[str, int | str], *, name: str) -> tuple[bytes, tuple[Change, ...]]:
    """
    Write *changes*, paths below `pilot:rollout` (`percent`, `flags.x`) to values, into *data*.

    A scalar keeps its quotes where they can hold the new value; one that has it already stays.

    Raises:
        ConfigError: the file, a key, or an old or new value is not what may be edited safely.
    """
    file, done = _file(data, name), []
    for path, value in changes.items():
        where = f"{_ROLLOUT}.{path}"
        old, new = file.text(where), file.check(where, str(value))
        if old != new:
            file = file.replace(where, new, _written(new, where, file.nodes[where].style or None))
            done.append(Change(path, old, new))
    return file.source.encode(), tuple(done)


def with_cohort(data: bytes, firms: Sequence[str], *, name: str) -> bytes:
    """
    Write *firms* as `pilot:rollout.cohort`, a list on one line such as `[firm-a, firm-b]`; those that stay keep their
    quotes.

    Raises:
        ConfigError: the file has no such list, one in another style, or a firm is no word.
    """
    file = _file(data, name)
    node = file.expect(file.node(_COHORT), _COHORT, "sequence")
    old = file.texts(_COHORT)
    if not node.flow_style or node.start_mark.line != node.end_mark.line:
        raise file.refusal(_COHORT, "a list over several lines", f"it on one: [{', '.join(old)}]")
    marks = [(item.start_mark.index, item.end_mark.index) for item in node.value]
    tokens = {firm: file.source[start:end] for firm, (start, end) in zip(old, marks, strict=True)}
    raw = [tokens.get(firm) or _written(file.check(_COHORT, firm), _COHORT, None) for firm in firms]
    return file.replace_list(_COHORT, firms, f"[{', '.join(raw)}]").source.encode()


def restore(current: bytes, before: bytes, after: bytes, *, name: str) -> tuple[bytes, tuple[Change, ...]]:
    """
    Take back in *current* what the commit from *before* to *after* did below `pilot:rollout`.

    A value that is still the commit's becomes the earlier one; one that is that already stays.
    Where the commit is the latest and touched nothing else, the result is *before* itself, with its
    comments, lists and keys; a key that is not there then counts as "" in the changes.

    Raises:
        ConfigError: as for `splice`, or a value has changed again since, or one that the commit
            changed is no scalar or has come or gone.
    """
    file = _file(current, name)
    old, new = _file(before, f"{name} (before the commit)"), _file(after, f"{name} (the commit's)")
    was, became = old.values(), new.values()
    touched = [path for path in became | was if was.get(path) != became.get(path)]
    if touched and current == after and old.around() == new.around():
        _rollout(old)
        return before, tuple(Change(p, became.get(p, ""), was.get(p, "")) for p in touched)
    done = []
    for path in touched:
        where = f"{_ROLLOUT}.{path}"
        found, wanted = file.text(where), old.text(where)
        if found == wanted:
            continue
        if found != new.text(where):
            conflict = f"{found!r}, changed since the commit wrote {became[path]!r}"
            raise file.refusal(where, conflict, f"{wanted!r} by hand if that is still right")
        # The earlier quotes come back too, unless someone has changed them since.
        same = file.token(where) == new.token(where)
        raw = old.token(where) if same else _written(wanted, where, file.nodes[where].style or None)
        file = file.replace(where, wanted, raw)
        done.append(Change(path, found, wanted))
    return file.source.encode(), tuple(done)


def _rollout(file: _File) -> Rollout:
    return Rollout(
        percent=int(file.text(_PERCENT)),
        exposure=Exposure(file.text(f"{_ROLLOUT}.exposure")),
        intake=Intake(file.optional(f"{_ROLLOUT}.intake") or Intake.OPEN),
        hold=file.optional(f"{_ROLLOUT}.hold") or "",
        flags={path[len(_FLAGS) + 1 :]: file.text(path) for path in file.below(_FLAGS)},
        cohort=file.texts(_COHORT) if _COHORT in file.nodes else (),
    )


def _written(value: str, where: str, style: str | None) -> str:
    """*value* as a scalar on one line, in quotes of *style* where they can hold it."""
    if style is None and (where == _PERCENT or re.fullmatch(_PLAIN, value)):
        return value
    if style == "'" and value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    quoted = json.dumps(value, ensure_ascii=False)  # YAML needs escapes where JSON needs none
    return "".join(c if c.isprintable() else f"\\U{ord(c):08x}" for c in quoted)


@functools.lru_cache(maxsize=64)
def _file(data: bytes, name: str) -> _File:
    """A pass reads the same few bytes again and again, and most of its time would be parsing."""
    return _File(data, name)


def _parsed(source: str) -> tuple[Any, list[Any]]:
    """
    The root node of *source*, and its events.

    libyaml is ten times as fast as PyYAML's own parser, which matters with a thousand stacks. It is asked where the two
    read alike: printable ASCII in block style, or in flow style of plain words. What it refuses PyYAML reads too, since
    that has the better words.
    """
    if _FAST is not None and len(source) <= 1_000_000 and not re.search(_ODD, re.sub(_FLOW, "", source)):
        try:
            return _yaml.compose(source, Loader=_FAST), list(_yaml.parse(source, Loader=_FAST))
        except yaml.YAMLError:
            pass
    return _yaml.compose(source, Loader=yaml.SafeLoader), list(_yaml.parse(source, Loader=yaml.SafeLoader))


class _File:
    """One parsed stack file: its text, the nodes that are read by path, and what its events say."""

    def __init__(self, data: bytes, name: str) -> None:
        self.name = name
        try:
            self.source = data.decode()  # a BOM stays, as a character; marks count characters too
            root, events = _parsed(self.source)
        except UnicodeDecodeError as error:
            place = self._place(data[: error.start].decode())
            raise ConfigError(f"{place}: found a byte that is not UTF-8; save as UTF-8") from error
        except yaml.reader.ReaderError as error:
            place = self._place(self.source[: error.position])
            raise ConfigError(f"{place}: found a control character; remove it") from error
        except yaml.MarkedYAMLError as error:
            # Not str(error), which quotes the line: it may hold a secret.
            place = self._place(self.source[: getattr(error.problem_mark, "index", 0)])
            why = " ".join(filter(None, (error.context, error.problem)))
            raise ConfigError(f"{place}: not one YAML document: {why}; correct it") from error
        except (ValueError, OverflowError, RecursionError) as error:  # PyYAML lets these escape
            why = type(error).__name__
            raise ConfigError(f"{name}: found YAML nested or escaped too far ({why})") from error
        if root is None:
            raise ConfigError(f"{name}:1:1: found an empty file; write config: with pilot:rollout")
        # Nodes forget tags and anchors; an alias composes to the anchored node.
        self.marked = {
            (event.start_mark.index, type(event).__name__[:6].lower())
            for event in events
            if getattr(event, "anchor", None) or getattr(event, "tag", None)
        }
        self.facts = [
            (type(event), {k: v if k == "value" else v or None for k, v in vars(event).items() if k not in _PLACE})
            for event in events
        ]
        self.nodes: dict[str, Any] = {}  # of yaml.Node, whose stubs know neither id nor style
        self._index(root, "")

    def _place(self, text: str) -> str:
        """Where *text*, which is the beginning of the file, ends."""
        text = text.removeprefix("\ufeff")
        return f"{self.name}:{text.count(chr(10)) + 1}:{len(text) - text.rfind(chr(10))}"

    def _index(self, node: Any, where: str) -> None:
        """Note the nodes that are read; refuse what two readers of YAML may resolve differently."""
        self.nodes[where] = node
        if where not in _KEYS:
            return
        self.expect(node, where, "mapping")
        seen = set()
        for key, value in node.value:
            self.expect(key, where, "scalar")
            if key.tag == "tag:yaml.org,2002:merge":
                raise self.refusal(where, "a merge key (<<)", "the merged keys themselves", key)
            if key.value in seen:
                raise self.refusal(where, f"{key.value!r} twice", "it once", key)
            seen.add(key.value)
            if not _KEYS[where] or key.value in _KEYS[where]:
                self._index(value, f"{where}.{key.value}".lstrip("."))
            elif where == _ROLLOUT:
                allowed = f"one of {', '.join(_KEYS[where])}"
                raise self.refusal(where, f"unknown key {key.value!r}", allowed, key)

    def refusal(self, where: str, found: str, write: str, node: Any = None) -> ConfigError:
        mark = (node or self.nodes[where]).start_mark
        found = found if len(found) <= 160 else f"{found[:157]}..."
        place = f"{self._place(self.source[: mark.index])}: {where or 'the file'}"
        return ConfigError(f"{place}: found {found}; write {write}")

    def expect(self, node: Any, where: str, kind: str) -> Any:
        if (node.start_mark.index, node.id[:6]) in self.marked:
            raise self.refusal(where, "a tag, an anchor or an alias", "the plain value", node)
        if node.id != kind:
            raise self.refusal(where, _KINDS[node.id], _KINDS[kind], node)
        return node

    def node(self, where: str) -> Any:
        """What stands at *where*, which must be there."""
        parent = where
        while parent not in self.nodes:
            parent = parent.rpartition(".")[0]
        if parent != where:
            hint = "it here: no key is ever added for you, and an ESC environment is not read"
            raise self.refusal(parent, f"no {where[len(parent) :].lstrip('.')!r}", hint)
        return self.nodes[where]

    def text(self, where: str) -> str:
        return self._scalar(self.node(where), where)

    def optional(self, where: str) -> str | None:
        return self.text(where) if where in self.nodes else None

    def below(self, where: str) -> list[str]:
        return [path for path in self.nodes if path.startswith(f"{where}.")]

    def texts(self, where: str) -> tuple[str, ...]:
        items = self.expect(self.nodes[where], where, "sequence").value
        return tuple(self._scalar(item, where) for item in items)

    def _scalar(self, node: Any, where: str) -> str:
        self.expect(node, where, "scalar")
        if node.style in ("|", ">"):
            raise self.refusal(where, "a block (| or >)", "the value on one line", node)
        if node.tag != "tag:yaml.org,2002:str" and where != _PERCENT:
            kind = node.tag.rpartition(":")[2]
            raise self.refusal(where, f"{node.value!r} ({kind})", "text, in quotes", node)
        return self.check(where, node.value, node)

    def check(self, where: str, value: str, node: Any = None) -> str:
        other = _WORD if where.startswith((_FLAGS, _COHORT)) else _SOMETHING
        pattern, allowed = _VALUES.get(where, other)
        if not re.fullmatch(pattern, value):
            raise self.refusal(where, repr(value), allowed, node)
        return value

    def token(self, where: str) -> str:
        node = self.nodes[where]
        return self.source[node.start_mark.index : node.end_mark.index]

    def around(self) -> tuple[str, str]:
        """The text before and after what `pilot:rollout` maps to."""
        node = self.node(_ROLLOUT)
        return self.source[: node.start_mark.index], self.source[node.end_mark.index :]

    def values(self) -> dict[str, str]:
        """Every value below `pilot:rollout` by path, lists as JSON; whether allowed or not."""
        values = {}
        for where in self.below(_ROLLOUT):
            node = self.nodes[where]
            if node.id == "sequence":
                items = [item.value if item.id == "scalar" else item.id for item in node.value]
                values[where[len(_ROLLOUT) + 1 :]] = json.dumps(items, ensure_ascii=False)
            elif node.id == "scalar":
                values[where[len(_ROLLOUT) + 1 :]] = node.value
        return values

    def replace(self, where: str, value: str, raw: str) -> _File:
        """Put *raw* in the place of a scalar; prove by reading again that no more differs."""
        start, end = self.nodes[where].start_mark.index, self.nodes[where].end_mark.index
        edited = f"{self.source[:start]}{raw}{self.source[end:]}"
        new = _file(edited.encode(), f"{self.name} (edited)")
        differ = [pair for pair in zip_longest(self.facts, new.facts) if pair[0] != pair[1]]
        moved = new.nodes[where].start_mark.index != start or new.token(where) != raw
        if len(differ) != 1 or moved or new.text(where) != value:
            raise self.refusal(where, f"that {raw!r} in its place would change more", "it by hand")
        return new

    def replace_list(self, where: str, values: Sequence[str], raw: str) -> _File:
        """
        As `replace`, for a list of scalars. Where the list that is read again is *raw* from end to end and says just
        *values*, the text around it, which is the same, says what it said.
        """
        start, end = self.nodes[where].start_mark.index, self.nodes[where].end_mark.index
        new = _file(f"{self.source[:start]}{raw}{self.source[end:]}".encode(), f"{self.name} (edited)")
        moved = new.nodes[where].start_mark.index != start or new.token(where) != raw
        if moved or new.texts(where) != tuple(values):
            raise self.refusal(where, f"that {raw!r} in its place would change more", "it by hand")
        return new

"""The stack file: what is read of it, and edits that leave every other byte alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller import stackfile
from controller.errors import ConfigError
from controller.model import Change, Declared, Exposure, Intake, Rollout, Service
from controller.stackfile import read, restore, splice

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden" / "stackfile"
NAME = "Pulumi.prod.yaml"
PLAIN = (GOLDEN / "plain" / "before.yaml").read_bytes()
SMALL = b"""\
config:
  pilot:service: {cluster: c, name: n, image: i}
  pilot:rollout:
    percent: 10
    exposure: flag
    hold: ""
    flags:
      micPrompt: primer
    cohort: [firm-a]
"""

CASES: dict[str, Mapping[str, int | str]] = {
    "plain": {"percent": 20},
    "crlf": {"percent": 50},
    "mixed-line-ends": {"intake": "paused"},
    "bom": {"percent": 100},
    "no-final-newline": {"percent": 0},
    "secure-around": {"percent": 20},
    "long-secret": {"percent": 20},
    "double-quoted": {"percent": 20},
    "single-quoted": {"percent": "20"},
    "flow-mapping": {"percent": 20},
    "json": {"intake": "paused"},
    "comment-on-the-line": {"percent": 20},
    "non-ascii-before": {"percent": 20},
    "bom-and-non-ascii": {"flags.micPrompt": "native"},
    "nested-flag": {"flags.micPrompt": "native"},
    "flag-beside-its-namesake": {"flags.micPrompt": "native"},
    "hold-with-special-characters": {
        "hold": 'KPI "ttv_p90": 8 s # see C:\\logs — größer {a, b}',
    },
    "hold-single-quoted": {"hold": "it's on hold: #42"},
    "hold-plain-to-quoted": {"hold": "legal: review #2"},
    "hold-plain-that-would-be-a-number": {"hold": "010"},
    "hold-over-two-lines": {"hold": "waiting for legal"},
    "hold-with-line-break": {"hold": "a\nb\u2028c"},
    "mixed-indentation": {"percent": 20},
    "deep-list-before": {"percent": 20},
    "anchors-elsewhere": {"percent": 20},
    "document-marks": {"percent": 20},
    "several-scalars": {"percent": 0, "hold": "mic grant 71 %", "intake": "paused"},
}


def golden(case: str) -> tuple[bytes, bytes]:
    return (GOLDEN / case / "before.yaml").read_bytes(), (GOLDEN / case / "after.yaml").read_bytes()


def test_every_golden_case_is_listed() -> None:
    assert sorted(CASES) == sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())


def test_golden_files_kept_their_line_ends_in_git() -> None:
    crlf, _ = golden("crlf")

    assert crlf.count(b"\r\n") == crlf.count(b"\n") > 0
    assert golden("bom")[0].startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize("case", CASES)
def test_splice_changes_these_bytes_only(case: str) -> None:
    before, after = golden(case)

    data, changes = splice(before, CASES[case], name=NAME)

    assert data == after
    assert {change.path: change.new for change in changes} == {path: str(value) for path, value in CASES[case].items()}


@pytest.mark.parametrize("case", CASES)
def test_restore_of_the_latest_commit_gives_back_the_bytes(case: str) -> None:
    before, after = golden(case)

    data, changes = restore(after, before, after, name=NAME)

    assert data == before
    assert {change.path: change.old for change in changes} == {path: str(value) for path, value in CASES[case].items()}


@pytest.mark.parametrize("case", CASES)
def test_read_sees_what_was_spliced(case: str) -> None:
    rollout = read(golden(case)[1], name=NAME).rollout

    for path, value in CASES[case].items():
        found = rollout.flags[path[6:]] if path.startswith("flags.") else getattr(rollout, path)
        assert str(found) == str(value)


def test_read_gives_typed_values() -> None:
    assert read(PLAIN, name=NAME) == Declared(
        service=Service(
            cluster="ontogra-cluster",
            name="ontogra-api-svc",
            image="123456789012.dkr.ecr.us-east-1.amazonaws.com/api@sha256:0123abcd",
            health_url="https://api.ontogra.com/health",
        ),
        rollout=Rollout(
            percent=10,
            exposure=Exposure.FLAG,
            flags={"micPrompt": "primer"},
            cohort=("firm-a", "firm-b"),
        ),
        region="us-east-1",
    )


def test_read_leaves_keys_of_the_service_that_it_does_not_know_to_the_infrastructure() -> None:
    service = b"{cluster: c, name: n, image: i, candidateImage: j, desired: &d 2, more: [!!str x, *d]}"
    data = SMALL.replace(b"{cluster: c, name: n, image: i}", service)

    assert read(data, name=NAME).service == Service("c", "n", "i", candidate_image="j")


def test_read_needs_no_optional_key() -> None:
    declared = read(
        b"config: {pilot:service: {cluster: c, name: n, image: i},"
        b" pilot:rollout: {percent: 0, exposure: traffic, intake: paused}}",
        name=NAME,
    )

    assert declared.rollout == Rollout(0, Exposure.TRAFFIC, Intake.PAUSED)
    assert declared.region is None


@pytest.mark.parametrize("path", sorted(ROOT.glob("Pulumi.*.yaml")), ids=lambda path: path.name)
def test_the_shipped_files_are_read_and_edited(path: Path) -> None:
    data = path.read_bytes()
    rollout = read(data, name=path.name).rollout

    edited, _ = splice(data, {"percent": 100 - rollout.percent, "hold": "x: #"}, name=path.name)

    assert rollout.flags["micPrompt"] in ("primer", "native")
    assert restore(edited, data, edited, name=path.name)[0] == data


def test_there_are_shipped_files() -> None:
    assert {path.name for path in ROOT.glob("Pulumi.*.yaml")} >= {
        "Pulumi.prod.yaml",
        "Pulumi.staging.yaml",
    }


def test_changes_say_old_and_new_in_the_order_asked() -> None:
    _, changes = splice(SMALL, {"hold": "stop", "percent": 0}, name=NAME)

    assert changes == (Change("hold", "", "stop"), Change("percent", "10", "0"))


@pytest.mark.parametrize("data", [SMALL, SMALL.replace(b"10", b'"10"')], ids=["plain", "quoted"])
@pytest.mark.parametrize("value", [10, "10"])
def test_a_value_that_is_there_already_is_no_change(data: bytes, value: int | str) -> None:
    assert splice(data, {"percent": value, "hold": ""}, name=NAME) == (data, ())


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("stop", "stop"),
        ("wait for legal.review/2", "wait for legal.review/2"),
        ("", '""'),
        ("yes", '"yes"'),
        ("Off", '"Off"'),
        ("N", '"N"'),
        ("null", '"null"'),
        ("yes please", "yes please"),
        ("1e3", '"1e3"'),
        ("0o17", '"0o17"'),
        ("2026-01-01", '"2026-01-01"'),
        ("~", '"~"'),
        ("a: b", '"a: b"'),
        ("a #b", '"a #b"'),
        ("- a", '"- a"'),
        ("a ", '"a "'),
        ("a,b", '"a,b"'),
        ("é", '"é"'),
        ("\x7f\x85\ufeff", '"\\U0000007f\\U00000085\\U0000feff"'),
    ],
)
def test_a_plain_scalar_gets_quotes_where_it_would_not_stay_text(value: str, written: str) -> None:
    data = SMALL.replace(b'hold: ""', b"hold: waiting")

    spliced, _ = splice(data, {"hold": value}, name=NAME)

    assert spliced == SMALL.replace(b'hold: ""', f"hold: {written}".encode())


def replaced(old: bytes, new: bytes) -> bytes:
    assert SMALL.count(old) == 1
    return SMALL.replace(old, new)


TEN = b"percent: 10\n"
MIC = b"micPrompt: primer"
HOLD = b'hold: ""'
FILE, ROLLOUT, PERCENT_AT = "the file", "config.pilot:rollout", "4:14: config.pilot:rollout.percent"
MARKED = "a tag, an anchor or an alias; write the plain value"
ADD = "; write it here: no key is ever added for you, and an ESC environment is not read"
KEYS = "percent, exposure, intake, hold, flags, cohort"
NUMBER = "; write a whole number from 0 to 100, no leading zero"
# fmt: off
REFUSED = {  # the file, the path asked for, and what the message says after the file's name
    "empty": (b"", "percent", "1:1: found an empty file; write config: with pilot:rollout"),
    "only-comments": (b"# nothing\n", "percent", "1:1: found an empty file"),
    "no-config": (b"encryptionsalt: v1:a\n", "percent",
                  f"1:1: {FILE}: found no '{ROLLOUT}.percent'{ADD}"),
    "root-is-a-list": (b"- config\n", "percent", f"1:1: {FILE}: found a list; write a mapping"),
    "config-is-null": (b"config:\n", "percent",
                       "1:8: config: found a single value; write a mapping"),
    "no-rollout": (b"config:\n  aws:region: r\n", "percent",
                   f"2:3: config: found no 'pilot:rollout.percent'{ADD}"),
    "no-key": (replaced(b"    " + TEN, b""), "percent", f"4:5: {ROLLOUT}: found no 'percent'{ADD}"),
    "no-flag": (SMALL, "flags.other", f"8:7: {ROLLOUT}.flags: found no 'other'{ADD}"),
    "below-a-scalar": (SMALL, "percent.x", f"{PERCENT_AT}: found no 'x'"),
    "no-path": (SMALL, "", f"4:5: {ROLLOUT}: found no ''"),
    "outside": (SMALL, "config.aws:region", f"4:5: {ROLLOUT}: found no 'config.aws:region'"),
    "tag": (replaced(TEN, b"percent: !!int 10\n"), "percent", f"{PERCENT_AT}: found {MARKED}"),
    "unspecific-tag": (replaced(TEN, b"percent: ! 10\n"), "percent",
                       f"{PERCENT_AT}: found {MARKED}"),
    "anchor": (replaced(TEN, b"percent: &p 10\n"), "percent", f"{PERCENT_AT}: found {MARKED}"),
    "alias": (b"x: &p 10\n" + replaced(TEN, b"percent: *p\n"), "percent",
              f"1:4: {ROLLOUT}.percent: found {MARKED}"),
    "anchored-key": (replaced(TEN, b"&p percent: 10\n"), "percent",
                     f"4:5: {ROLLOUT}: found {MARKED}"),
    "anchored-rollout": (replaced(b"rollout:\n", b"rollout: &r\n"), "percent",
                         f"3:18: {ROLLOUT}: found {MARKED}"),
    "tagged-config": (replaced(b"config:\n", b"config: !!map\n"), "percent",
                      f"1:9: config: found {MARKED}"),
    "anchored-flags": (replaced(b"flags:\n", b"flags: &f\n"), "percent",
                       f"7:12: {ROLLOUT}.flags: found {MARKED}"),
    "merge-key": (b"x: &x {percent: 10}\n" + replaced(TEN, b"<<: *x\n"), "percent",
                  f"5:5: {ROLLOUT}: found a merge key (<<); write the merged keys themselves"),
    "merge-key-in-config": (b"x: &x {}\n" + replaced(b"config:\n", b"config:\n  <<: *x\n"),
                            "percent", "3:3: config: found a merge key (<<)"),
    "null": (replaced(TEN, b"percent:\n"), "percent", f"4:13: {ROLLOUT}.percent: found ''{NUMBER}"),
    "tilde": (replaced(TEN, b"percent: ~\n"), "percent", f"{PERCENT_AT}: found '~'{NUMBER}"),
    "null-text": (replaced(HOLD, b"hold: null"), "hold",
                  f"6:11: {ROLLOUT}.hold: found 'null' (null); write text, in quotes"),
    "literal-block": (replaced(HOLD, b"hold: |\n      a\n"), "hold",
                      f"6:11: {ROLLOUT}.hold: found a block (| or >); write the value on one line"),
    "folded-block": (replaced(TEN, b"percent: >-\n      10\n"), "percent",
                     f"{PERCENT_AT}: found a block (| or >)"),
    "secure": (replaced(TEN, b"percent: {secure: v1:abc}\n"), "percent",
               f"{PERCENT_AT}: found a mapping; write a single value"),
    "secure-rollout": (b"config:\n  pilot:rollout:\n    secure: v1:abc\n", "percent",
                       f"3:5: {ROLLOUT}: found unknown key 'secure'"),
    "list": (SMALL, "cohort", f"9:13: {ROLLOUT}.cohort: found a list; write a single value"),
    "mapping": (SMALL, "flags", f"8:7: {ROLLOUT}.flags: found a mapping; write a single value"),
    "flags-are-null": (replaced(b"\n      micPrompt: primer", b""), "percent",
                       f"7:11: {ROLLOUT}.flags: found a single value; write a mapping"),
    "duplicate": (replaced(TEN, TEN + b'    "percent": 20\n'), "percent",
                  f"5:5: {ROLLOUT}: found 'percent' twice; write it once"),
    "duplicate-neighbour": (replaced(TEN, TEN + b"    exposure: flag\n"), "percent",
                            f"6:5: {ROLLOUT}: found 'exposure' twice"),
    "duplicate-rollout": (SMALL + b"  pilot:rollout: {percent: 1}\n", "percent",
                          "10:3: config: found 'pilot:rollout' twice"),
    "duplicate-of-others": (SMALL + b"  a:b: 1\n  a:b: 2\n", "percent",
                            "11:3: config: found 'a:b' twice"),
    "duplicate-config": (SMALL + b"config: {}\n", "percent",
                         f"10:1: {FILE}: found 'config' twice"),
    "duplicate-flag": (replaced(MIC, MIC + b"\n      micPrompt: native"), "flags.micPrompt",
                       f"9:7: {ROLLOUT}.flags: found 'micPrompt' twice"),
    "key-is-a-list": (replaced(TEN, TEN + b"    [a]: b\n"), "percent",
                      f"5:5: {ROLLOUT}: found a list; write a single value"),
    "unknown-key": (replaced(TEN, TEN + b"    percnt: 20\n"), "percent",
                    f"5:5: {ROLLOUT}: found unknown key 'percnt'; write one of {KEYS}"),
    "two-documents": (SMALL + b"---\na: 1\n", "percent",
                      "10:1: not one YAML document: expected a single document in the stream but"),
    "tab": (replaced(TEN, b"percent: 10\n\t# note\n"), "percent",
            "5:1: not one YAML document: while scanning for the next token found character '\\t'"),
    "unclosed-quote": (replaced(TEN, b"percent: '10\n"), "percent",
                       "10:1: not one YAML document: while scanning a quoted scalar"),
    "secret-in-a-broken-line": (SMALL + b"  a:b: {secure: v1:abc}}\n", "percent",
                                "10:24: not one YAML document: while parsing a block mapping"),
    "undefined-alias": (SMALL + b"x: *y\n", "percent",
                        "10:4: not one YAML document: found undefined alias 'y'"),
    "latin-1": ("# é\nconfig: größe".encode("latin-1"), "percent",
                "1:3: found a byte that is not UTF-8; save as UTF-8"),
    "utf-8-then-latin-1": ("# é\nx: é".encode() + b"\xff" + SMALL, "percent",
                           "2:5: found a byte that is not UTF-8"),
    "utf-16": (SMALL.decode().encode("utf-16"), "percent", "1:1: found a byte that is not UTF-8"),
    "nul": (b"\xef\xbb\xbf" + replaced(TEN, b"percent: 1\x000\n"), "percent",
            "4:15: found a control character; remove it"),
    "too-deep": (b"x: " + b"[" * 800 + b"]" * 800 + b"\n" + SMALL, "percent",
                 " found YAML nested or escaped too far (RecursionError)"),
    "no-such-character": (b'x: "\\U00110000"\n' + SMALL, "percent",
                          " found YAML nested or escaped too far (ValueError)"),
    "no-character-at-all": (b'x: "\\UFFFFFFFF"\n' + SMALL, "percent",
                            " found YAML nested or escaped too far (OverflowError)"),
    "bom-is-no-column": (b"\xef\xbb\xbfconfig: []", "percent", "1:9: config: found a list"),
    "non-ascii-column": ("config: {größe: '🚀🚀', pilot:rollout: {percent: 010}}".encode(),
                         "percent", f"1:48: {ROLLOUT}.percent: found '010'"),
    "flag-is-a-bool": (replaced(MIC, b"micPrompt: on"), "flags.micPrompt",
                       f"8:18: {ROLLOUT}.flags.micPrompt: found 'on' (bool); write text, in"),
    "flag-is-empty": (replaced(MIC, b"micPrompt: ''"), "flags.micPrompt",
                      f"8:18: {ROLLOUT}.flags.micPrompt: found ''; write a word of letters"),
    "hold-is-a-date": (replaced(HOLD, b"hold: 2026-01-01"), "hold",
                       f"6:11: {ROLLOUT}.hold: found '2026-01-01' (timestamp)"),
    "unknown-exposure": (replaced(b"exposure: flag", b"exposure: flags"), "exposure",
                         f"5:15: {ROLLOUT}.exposure: found 'flags'; write flag or traffic"),
}
# fmt: on


@pytest.mark.parametrize("case", REFUSED)
def test_splice_refuses(case: str) -> None:
    data, path, message = REFUSED[case]

    with pytest.raises(ConfigError) as error:
        splice(data, {path: 20}, name=NAME)
    assert str(error.value).startswith(f"{NAME}:{message}")
    assert "v1:abc" not in str(error.value)


PERCENTS = ["010", "00", "101", "-1", "+10", "1_0", "0x0A", "1:10", "10.0", "1e1", "", "true",
            "\uff11\uff10", "1\u0660", "10\n", " 10", "null"]  # fmt: skip


@pytest.mark.parametrize("value", PERCENTS)
def test_a_percent_that_readers_may_disagree_on_is_refused_as_a_new_value(value: str) -> None:
    with pytest.raises(ConfigError, match="write a whole number from 0 to 100") as error:
        splice(SMALL, {"percent": value}, name=NAME)
    assert f"found {value!r}" in str(error.value)


@pytest.mark.parametrize("written", [*map(json.dumps, PERCENTS), *(p for p in PERCENTS if p == p.strip())])
def test_a_percent_that_readers_may_disagree_on_is_refused_as_an_old_value(written: str) -> None:
    data = replaced(b"10\n", written.encode() + b"\n")

    for act in (lambda: splice(data, {"percent": 20}, name=NAME), lambda: read(data, name=NAME)):
        with pytest.raises(ConfigError, match="write a whole number from 0 to 100"):
            act()


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        ("exposure", "both", "flag or traffic"),
        ("exposure", "flag\n", "flag or traffic"),
        ("flags.micPrompt", "", "a word of letters"),
        ("flags.micPrompt", "a b", "a word of letters"),
        ("percent", True, "a whole number"),
        ("hold", "\ud800", "text without lone surrogates"),
    ],
)
def test_a_new_value_that_is_not_allowed_is_refused(path: str, value: str, allowed: str) -> None:
    with pytest.raises(ConfigError, match=f"found {str(value)!r}; write {allowed}".replace("\\", ".")):
        splice(SMALL, {path: value}, name=NAME)


def test_unknown_intake_is_refused() -> None:
    with pytest.raises(ConfigError, match="found 'closed'; write open or paused"):
        splice(PLAIN, {"intake": "closed"}, name=NAME)
    with pytest.raises(ConfigError, match="found 'closed'; write open or paused"):
        read(PLAIN.replace(b"intake: open ", b"intake: closed "), name=NAME)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(b"cluster: c, ", b"", "2:18: config.pilot:service: found no 'cluster'",
                     id="no-cluster"),
        pytest.param(b"name: n", b"name: ''", "2:37: config.pilot:service.name: found ''; write",
                     id="empty-name"),
        pytest.param(b"image: i", b"image: {secure: v1:x}",
                     "2:47: config.pilot:service.image: found a mapping", id="secret-image"),
        pytest.param(b"image: i", b"image: i, healthUrl: ~",
                     "2:61: config.pilot:service.healthUrl: found '~' (null)", id="null-url"),
        pytest.param(b"    exposure: flag\n", b"", f"4:5: {ROLLOUT}: found no 'exposure'",
                     id="no-exposure"),
        pytest.param(b"[firm-a]", b"firm-a", f"9:13: {ROLLOUT}.cohort: found a single value",
                     id="cohort-is-text"),
        pytest.param(b"[firm-a]", b"[firm-a, 7]", f"9:22: {ROLLOUT}.cohort: found '7' (int)",
                     id="cohort-has-a-number"),
        pytest.param(b"[firm-a]", b"[firm-a, a b]", f"9:22: {ROLLOUT}.cohort: found 'a b'; write a",
                     id="cohort-has-no-word"),
        pytest.param(b"primer", b"yes", f"8:18: {ROLLOUT}.flags.micPrompt: found 'yes' (bool)",
                     id="flag-is-a-bool"),
        pytest.param(HOLD, b"hold: 3", f"6:11: {ROLLOUT}.hold: found '3' (int)",
                     id="hold-is-a-number"),
        pytest.param(b"config:\n", b"config:\n  aws:region: [a]\n",
                     "2:15: config.aws:region: found a list", id="region-is-a-list"),
    ],
)  # fmt: skip
def test_read_refuses(old: bytes, new: bytes, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read(replaced(old, new), name=NAME)
    assert str(error.value).startswith(f"{NAME}:{message}")


def test_an_edit_survives_a_service_that_cannot_be_read() -> None:
    """A revert must not wait for someone to repair what it does not touch."""
    data = replaced(b"cluster: c, ", b"")

    edited, _ = splice(data, {"percent": 0}, name=NAME)

    assert edited == data.replace(b"10\n", b"0\n")
    assert restore(edited, data, edited, name=NAME)[0] == data


@pytest.mark.parametrize(
    "written",
    ["20 # more", "20\n    # more", "20\n    intake: paused", "20, x: 1", "0", "'20", "  20"],
)
def test_an_edit_that_would_do_more_is_refused(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof by reading again does not trust what writes the scalar."""
    monkeypatch.setattr(stackfile, "_written", lambda *_: written)

    with pytest.raises(ConfigError):
        splice(SMALL, {"percent": 20}, name=NAME)


def test_the_proof_compares_the_whole_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    written = "20\n    intake: paused"
    monkeypatch.setattr(stackfile, "_written", lambda *_: written)
    monkeypatch.setattr(stackfile._File, "token", lambda *_: written)

    with pytest.raises(ConfigError, match="would change more; write it by hand"):
        splice(SMALL, {"percent": 20}, name=NAME)


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(ConfigError) as error:
        splice(SMALL, {"percent": "9" * 1000}, name=NAME)
    assert len(str(error.value)) < 350


# ------------------------------------------------------------------------------------- restore


AFTER, _ = splice(SMALL, {"percent": 20, "hold": "stop: now"}, name=NAME)
BACK = (Change("percent", "20", "10"), Change("hold", "stop: now", ""))


def test_restore_keeps_what_came_after_elsewhere() -> None:
    current = AFTER.replace(b"image: i", b"image: j") + b"# later\n"

    data, changes = restore(current, SMALL, AFTER, name=NAME)

    assert data == SMALL.replace(b"image: i", b"image: j") + b"# later\n"
    assert changes == BACK


def test_restore_keeps_later_changes_of_other_keys() -> None:
    current, _ = splice(AFTER, {"flags.micPrompt": "native"}, name=NAME)

    data, changes = restore(current, SMALL, AFTER, name=NAME)

    assert data == SMALL.replace(b"primer", b"native")
    assert changes == BACK


def test_restore_of_what_is_restored_already_changes_nothing() -> None:
    assert restore(SMALL, SMALL, AFTER, name=NAME) == (SMALL, ())


def test_restore_does_only_what_is_left_to_do() -> None:
    current, _ = splice(AFTER, {"percent": 10}, name=NAME)

    data, changes = restore(current, SMALL, AFTER, name=NAME)

    assert data == SMALL
    assert changes == BACK[1:]


def test_restore_of_a_value_that_changed_again_names_the_conflict() -> None:
    current, _ = splice(AFTER, {"percent": 50}, name=NAME)

    with pytest.raises(ConfigError) as error:
        restore(current, SMALL, AFTER, name=NAME)
    assert str(error.value) == (
        f"{NAME}:4:14: config.pilot:rollout.percent: found '50', "
        "changed since the commit wrote '20'; write '10' by hand if that is still right"
    )


def test_restore_of_a_commit_that_did_more_takes_back_the_rollout_only() -> None:
    after = AFTER.replace(b"image: i", b"image: j")

    data, changes = restore(after, SMALL, after, name=NAME)

    assert data == SMALL.replace(b"image: i", b"image: j")
    assert changes == BACK


def test_restore_of_the_latest_commit_takes_back_comments_lists_and_keys() -> None:
    after = (
        SMALL.replace(b"10\n", b"'20'  # second wave\n")
        .replace(b"[firm-a]", b"\n    - firm-a\n    - b\xc3\xa9")
        .replace(b'    hold: ""\n', b"    intake: paused\n")
    )

    data, changes = restore(after, SMALL, after, name=NAME)

    assert data == SMALL
    assert changes == (
        Change("percent", "20", "10"),
        Change("intake", "paused", ""),
        Change("cohort", '["firm-a", "bé"]', '["firm-a"]'),
        Change("hold", "", ""),
    )


def test_restore_takes_back_what_should_never_have_been_committed() -> None:
    after = SMALL.replace(b"10\n", b"010\n").replace(b"firm-a", b"a b, [&x [*x]]")

    assert restore(after, SMALL, after, name=NAME)[0] == SMALL


def test_restore_brings_the_earlier_quotes_back_after_later_commits() -> None:
    before = SMALL.replace(b"10\n", b"'10'\n")
    current = AFTER + b"# later\n"

    assert restore(current, before, AFTER, name=NAME)[0] == before + b"# later\n"


def test_restore_keeps_quotes_that_someone_changed_since() -> None:
    current = AFTER.replace(b"20\n", b'"20"\n')

    assert restore(current, SMALL, AFTER, name=NAME)[0] == SMALL.replace(b"10\n", b'"10"\n')


def test_restore_of_a_commit_without_rollout_changes_is_nothing() -> None:
    after = SMALL.replace(b"image: i", b"image: j").replace(b"10\n", b"10 # why\n")

    assert restore(after, SMALL, after, name=NAME) == (after, ())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param(b"[firm-a]", b"[firm-b]", "cohort: found a list", id="list"),
        pytest.param(b'    hold: ""\n', b"", "found no 'hold'", id="key-gone"),
        pytest.param(HOLD, HOLD + b"\n    intake: open", "found no 'intake'", id="key-new"),
        pytest.param(b"10\n", b"010\n", "found '010'", id="bad-percent"),
    ],
)
def test_restore_refuses_what_it_cannot_splice(old: bytes, new: bytes, message: str) -> None:
    after = replaced(old, new)

    with pytest.raises(ConfigError) as error:
        restore(after + b"# later\n", SMALL, after, name=NAME)
    assert message in str(error.value)


def test_restore_never_brings_back_a_file_that_cannot_be_read() -> None:
    before = replaced(b"10\n", b"010\n")

    with pytest.raises(ConfigError, match=r"before the commit.*found '010'"):
        restore(SMALL, before, SMALL, name=NAME)


def test_restore_needs_the_rollout_in_all_three() -> None:
    without = b"config: {aws:region: r}\n"

    for files in ((SMALL, without, SMALL), (without, SMALL, without), (without, SMALL, AFTER)):
        with pytest.raises(ConfigError, match="found no 'pilot:rollout"):
            restore(*files, name=NAME)


# ------------------------------------------------------------------------------------- properties
# No deadlines: a busy machine is no failure.

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
QUOTES = st.sampled_from(["plain", "single", "double"])
PERCENT = st.integers(0, 100)


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(sorted(CASES)), PERCENT, TEXT, st.sampled_from(["\n", "\r\n"]), st.booleans())
@example("plain", 0, "\x85\u2028\ufeff'\"\\", "\n", True)
def test_splice_then_read_gives_the_value_and_splicing_back_the_bytes(
    case: str, percent: int, text: str, line_end: str, final: bool
) -> None:
    data = golden(case)[0].replace(b"\r\n", b"\n").replace(b"\n", line_end.encode())
    data = data if final else data.rstrip()
    before = read(data, name=NAME).rollout
    wanted: dict[str, int | str] = {"percent": percent}
    if b"hold" in data:
        wanted["hold"] = text

    spliced, changes = splice(data, wanted, name=NAME)
    after = read(spliced, name=NAME).rollout
    back, _ = splice(spliced, {change.path: change.old for change in changes}, name=NAME)

    assert after.percent == percent
    assert after.hold == wanted.get("hold", before.hold)
    assert (after.exposure, after.flags, after.cohort) == (
        before.exposure,
        before.flags,
        before.cohort,
    )
    assert restore(spliced, data, spliced, name=NAME)[0] == data
    assert restore(spliced + b"\n# x", data, spliced, name=NAME)[0] == data + b"\n# x"
    # Quotes that a value needed stay, so only restore brings e.g. a plain scalar back after that.
    assert read(back, name=NAME).rollout == before
    if b'hold: "' in data or b"hold" not in data:
        assert back == data


@settings(deadline=None)
@given(st.text(max_size=30), PERCENT, TEXT, TEXT, TEXT)
def test_nothing_around_the_scalar_changes(name: str, percent: int, above: str, comment: str, below: str) -> None:
    lines = [
        f"# {above!r}",
        "config:",
        f"  pilot:a: {stackfile._written(name, '', None)}",
        "  pilot:rollout: {exposure: flag, percent: 10} #" + repr(comment),
        f"# {below!r}",
    ]
    data = "\n".join(lines).encode("utf-8", "replace")

    spliced, _ = splice(data, {"percent": percent}, name=NAME)

    head, tail = data.split(b"percent: 10} #", 1)
    assert spliced == head + f"percent: {percent}}} #".encode() + tail


FAST = "{}[]&*!|>%@`\"':,#-?~ \n\\.<=0a"


def only_config_errors(data: bytes) -> None:
    for act in (
        lambda: read(data, name=NAME),
        lambda: splice(data, {"percent": 20, "hold": "x"}, name=NAME),
        lambda: restore(data, SMALL, data, name=NAME),
        lambda: restore(AFTER, data, AFTER, name=NAME),
        lambda: restore(data, SMALL, AFTER, name=NAME),
    ):
        try:
            act()
        except ConfigError as error:
            refusal = str(error)
        else:
            continue
        assert refusal.startswith(NAME)


def parsed(source: str) -> tuple[Any, ...] | None:
    """All that is used of a parse: every node with its place, and what the events say."""
    try:
        root, events = stackfile._parsed(source)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return None
    nodes: list[object] = []

    def walk(node: Any) -> None:
        value = node.value if node.id == "scalar" else len(node.value)
        marks = (node.start_mark.index, node.end_mark.index, node.start_mark.line, node.start_mark.column)
        nodes.append((node.id, node.tag, value, marks, getattr(node, "style", None) or None))
        for inner in node.value if node.id != "scalar" else ():
            for part in inner if isinstance(inner, tuple) else (inner,):
                walk(part)

    if root is not None:
        walk(root)
    places = [event.start_mark.index for event in events]
    said = [
        (
            type(event),
            {k: v if k == "value" else v or None for k, v in vars(event).items() if k not in stackfile._PLACE},
        )
        for event in events
    ]
    return nodes, places, said


SHIPPED = (ROOT / NAME).read_text()


@settings(deadline=None, max_examples=4 * settings().max_examples)
@given(
    st.sampled_from([SHIPPED, *(golden(case)[0].decode().replace("\r", "") for case in sorted(CASES))]),
    st.integers(0, 2200),
    st.integers(0, 12),
    st.text(st.sampled_from(FAST), max_size=8),
)
def test_the_fast_parser_reads_as_the_slow_one(source: str, at: int, cut: int, put: str) -> None:
    """Whatever libyaml takes, PyYAML reads the same in it, down to the place of every node."""
    at %= len(source)
    source = source[:at] + put + source[at + cut :]
    fast = parsed(source)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stackfile, "_FAST", None)
        assert parsed(source) == fast


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_junk_is_refused_and_never_crashes(data: bytes) -> None:
    only_config_errors(data)


# fmt: off
YAMLISH = st.sampled_from([
    *"{}[]&*!|>%@`\"':,#-?~ \n\r\t\\", "<<: ", "---\n", "...\n", "%YAML 1.", "%TAG ! ", "!!int ",
    "!<x> ", '"\\U', "FFFFFFFF", "&a ", "*a", "? ", "\x00", "\x85", "\ufeff", "\u2028", "9" * 4400,
    "[" * 400, "config:", "  pilot:rollout:",
])
# fmt: on


@settings(deadline=None)
@given(st.integers(0, len(PLAIN)), st.integers(0, 30), st.lists(YAMLISH, max_size=6).map("".join))
@example(0, 0, '"\\UFFFFFFFF"')
@example(0, 0, "%YAML 1." + "9" * 4400 + "\n---\n")
def test_a_damaged_file_is_refused_or_edited_and_never_crashes(at: int, cut: int, put: str) -> None:
    only_config_errors(PLAIN[:at] + put.encode() + PLAIN[at + cut :])

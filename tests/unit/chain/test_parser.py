"""The parser cuts a chain where a shell cuts it, and points at what is wrong."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fws_pipe.chain.parser import split_chain
from fws_pipe.errors import ChainError


def texts(chain: str) -> list[str]:
    return [stage.text for stage in split_chain(chain)]


@pytest.mark.parametrize(
    ("chain", "stages"),
    [
        ("broadcast | stdout_log", ["broadcast", "stdout_log"]),
        ("a|b|c", ["a", "b", "c"]),
        ("  a  ", ["a"]),
        ("a || b | c", ["a || b", "c"]),
        ("a && b | c; d | e", ["a && b", "c; d", "e"]),
        ("( a | b ) | c", ["( a | b )", "c"]),
        ("((a) | (b|c)) | d", ["((a) | (b|c))", "d"]),
        ("""'a|b' | "c|d" | e\\|f""", ["'a|b'", '"c|d"', "e\\|f"]),
        ("\"$(a | b '|')\" | `c | d` | ${e:-|}", ["\"$(a | b '|')\"", "`c | d`", "${e:-|}"]),
        ("""a "it's" | b""", ["""a "it's\"""", "b"]),
        ("{ a | b; } | c", ["{ a | b; }", "c"]),
        ("while read x; do a | b; done | c", ["while read x; do a | b; done", "c"]),
        ("if a | b; then c | d; else e | f; fi | g", ["if a | b; then c | d; else e | f; fi", "g"]),
        ("for x in a b; do c | d; done | e", ["for x in a b; do c | d; done", "e"]),
        ("case $x in a|b) c | d;; (e|f) g;; esac | h", ["case $x in a|b) c | d;; (e|f) g;; esac", "h"]),
        ("f() { a | b; }; f | c", ["f() { a | b; }; f", "c"]),
        ("echo if { | b", ["echo if {", "b"]),
        ("a >|file | b", ["a >|file", "b"]),
        ("tee >(gzip >x.gz) | b", ["tee >(gzip >x.gz)", "b"]),
        ("tee >(a | b) <(c | d) | e", ["tee >(a | b) <(c | d)", "e"]),
        ("a # no | cut\n| b", ["a", "b"]),
        ("a#b | c", ["a#b", "c"]),
        ("a |\n b\n| c", ["a", "b", "c"]),
        ("$(( 1 | 2 )) | b", ["$(( 1 | 2 ))", "b"]),
        ("$( # ) |\n a ) | b", ["$( # ) |\n a )", "b"]),
        ("cat <<<'a|b' | c", ["cat <<<'a|b'", "c"]),
        ("( cat <<E\na | ) it's\nE\n) | b", ["( cat <<E\na | ) it's\nE\n)", "b"]),
        ("( cat <<'E' <<-F\n)\nE\n)\n\tF\n) | b", ["( cat <<'E' <<-F\n)\nE\n)\n\tF\n)", "b"]),
        ("a | while b; do cat <<E; done\n|\nE\n", ["a", "while b; do cat <<E; done\n|\nE\n"]),
        ("( cat <<E )\n|", ["( cat <<E )\n|"]),
        ("a $'b' | c", ["a $'b'", "c"]),
    ],
)
def test_cuts_at_top_level_pipes_only(chain: str, stages: list[str]) -> None:
    assert texts(chain) == stages


@pytest.mark.parametrize(
    ("chain", "problem", "position"),
    [
        ("", "empty stage", 0),
        ("   ", "empty stage", 0),
        ("a |", "empty stage", 2),
        ("| a", "empty stage", 0),
        ("a | | b", "empty stage", 4),
        ("a | # b", "empty stage", 2),
        ("a 'b | c", "quote `'` is never closed", 2),
        ('a "b | c', 'quote `"` is never closed', 2),
        ("a `b | c", "quote ``` is never closed", 2),
        ("a $(b | c", "bracket `(` is never closed", 3),
        ("a ${b | c", "bracket `{` is never closed", 3),
        ("a | ( b | c", "`(` is never closed: `)` is missing", 4),
        ("a | b )", "`)` closes nothing", 6),
        ("{ a | b", "`{` is never closed: `}` is missing", 0),
        ("while a; do b | c", "`while` is never closed: `done` is missing", 0),
        ("a; } | b", "`}` closes nothing", 3),
        ("a |& b", "`|&` can't be used in a chain", 2),
        ("cat <<E | b\na|b\nE\n", "`<<` can't be used in a chain", 4),
        ("a | cat <<-E", "`<<` can't be used in a chain", 8),
        ("while a; do cat <<E; done | b\n|\nE\n", "`<<` can't be used in a chain", 18),
    ],
)
def test_what_is_wrong_and_where(chain: str, problem: str, position: int) -> None:
    with pytest.raises(ChainError) as caught:
        split_chain(chain)
    assert problem in caught.value.message
    assert caught.value.position == position


@pytest.mark.parametrize(
    ("chain", "stages"),
    [
        (r"printf $'it\'s | ' | cat", [r"printf $'it\'s | '", "cat"]),
        ("""a "$'" | b "$'x" | c""", ["""a "$'\"""", """b "$'x\"""", "c"]),
        (r"a${x:-$'}\''} | b", [r"a${x:-$'}\''}", "b"]),
        (r"a $'\\' | b", [r"a $'\\'", "b"]),
    ],
)
def test_a_shell_with_dollar_quotes(chain: str, stages: list[str]) -> None:
    assert [stage.text for stage in split_chain(chain, has_dollar_quotes=True)] == stages


def test_a_shell_without_dollar_quotes() -> None:
    assert texts(r"printf $'it\' | cat") == [r"printf $'it\'", "cat"]
    with pytest.raises(ChainError, match="quote `'` is never closed"):
        split_chain(r"printf $'it\'s | ' | cat")


def test_the_caret_stands_under_the_culprit() -> None:
    with pytest.raises(ChainError) as caught:
        split_chain("a |\n\tb | 'c")
    assert str(caught.value).splitlines()[1:] == ["   b | 'c", "       ^"]


@pytest.mark.parametrize(
    ("stage", "word"),
    [
        ("cat", "cat"),
        ("X=1 Y='a b' cat -u", "cat"),
        ("<in 2>>err cat", "cat"),
        ("2>&1 cat", "cat"),
        ("'my filter' x", "'my filter'"),
        ("cat >out", "cat"),
        ("cat 5>out", "cat"),
        ("X=1", None),
        ("( cat )", None),
        ("a; b", None),
        ("a || b", None),
        ("! cat", None),
        ("{ cat; }", None),
        ("while :; do :; done", None),
    ],
)
def test_first_word(stage: str, word: str | None) -> None:
    [parsed] = split_chain(stage)
    assert parsed.word == word


shell_words = st.lists(
    st.one_of(
        st.sampled_from(["|", "a", "b c", "\\|", "\\'", '\\"', "\\\\", " ", "#", "a#", "$x", "{", "}", "=", "~"]),
        st.text("ab|'\"# ", max_size=4).map(lambda text: "'" + text.replace("'", "") + "'"),
        st.text("ab|'# ", max_size=4).map(lambda text: f'"{text}"'),
        st.text("ab|'# ", max_size=4).map(lambda text: '"$(printf %s "' + text + '")"'),
        st.text("ab ", max_size=4).map(lambda text: f"$(printf %s a; (printf %s '{text}|' | cat))"),
        st.text("ab", max_size=3).map(lambda text: f"`printf %s '{text}|'`"),
        st.text("ab|", max_size=3).map(lambda text: "${x:-'" + text + "'}"),
        st.text("ab'\"|\\", max_size=6),
    ),
    min_size=1,
    max_size=6,
).map("".join)


def shell(script: str) -> bytes | None:
    """What a script prints, or None when it isn't a script."""
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=False, cwd="/", timeout=20)
    return done.stdout if not done.stderr and done.returncode == 0 else None


@given(st.lists(shell_words, min_size=1, max_size=3))
@settings(max_examples=150, deadline=None)
def test_what_the_parser_cuts_the_shell_cuts_the_same(words: list[str]) -> None:
    """Each stage passes on what came in and adds its arguments: what comes out tells the cuts."""
    chain = " | ".join(f"show {word}" for word in words)
    # A word may begin a stage of its own, `|$x`, and that must pass on what came in as well.
    define = 'set -f; x=show; show() { [ -t 0 ] || cat; printf "<"; printf "%s," "$@"; printf ">"; }; '
    whole = shell(f"{define}exec </dev/null; {chain}")
    # Between `||` a shell sees two pipelines, of which a chain makes stages; and not every text is a script.
    assume("||" not in chain and whole is not None)
    piece_by_piece = b""
    for text in texts(chain):
        output = shell(f"{define}exec </dev/null; {text}")
        assert output is not None, text
        piece_by_piece += output
    assert piece_by_piece == whole


@given(st.text("ab |'\"\\$(){};&`#\n<>!", max_size=30))
def test_any_text_is_cut_or_refused(chain: str) -> None:
    """A refusal points into the text; stages are pieces of it, in order, where they say, and none is empty."""
    try:
        stages = split_chain(chain)
    except ChainError as error:
        assert 0 <= error.position <= len(chain)
        return
    for stage in stages:
        assert stage.text == chain[stage.start : stage.start + len(stage.text)]
        assert stage.text.strip()


def test_a_chain_with_controls_is_shown_without_them_and_the_caret_still_points() -> None:
    with pytest.raises(ChainError) as caught:
        split_chain("a\x1b\u202e | 'b\r")
    message, chain, caret = caught.value.lines
    assert "is never closed" in message
    assert chain == r"  a\x1b\u202e | 'b\r"
    assert caret.index("^") == chain.index("'")

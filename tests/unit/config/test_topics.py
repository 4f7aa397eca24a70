"""`--help TOPIC`: each document is there, is named in the help, and an unknown one is a line with the nearest."""

from __future__ import annotations

import re

import pytest

from fws_pipe.config.options import parse_front, parse_pipe
from fws_pipe.config.topics import DOCS, TOPICS, text_of
from fws_pipe.errors import UsageError


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    with pytest.raises(SystemExit) as ended:
        parse_pipe(argv, {})
    assert not ended.value.code
    return capsys.readouterr().out


def test_each_topic_is_a_document_and_each_document_a_topic() -> None:
    assert {path.stem for path in DOCS.glob("*.md")} == set(TOPICS)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_is_printed_to_the_letter(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--help", topic)
    assert text == (DOCS / f"{topic}.md").read_text()
    assert text.startswith("# ")


def test_help_names_each_topic_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "--help")
    for topic, summary in TOPICS.items():
        assert re.search(rf"^  {topic} +{re.escape(summary)}$", text, re.MULTILINE)
    assert printed(capsys, "-h") == text


def test_a_topic_is_printed_whatever_else_stands_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "mirror", "--port", "0", "--help=redis") == text_of("redis")


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("securitee", "no help on 'securitee'; did you mean security? topics: operations, security, "),
        ("mirror", "no help on 'mirror'; topics: operations, "),
        ("../../x\n", r"no help on '../../x\n'; topics: "),
        ("redis://u:pw@h", "no help on 'redis://…@h'; topics: "),
    ],
)
def test_an_unknown_topic_is_a_line_with_the_nearest(topic: str, words: str) -> None:
    for parse in (parse_pipe, parse_front):
        with pytest.raises(UsageError) as caught:
            parse(["--help", topic], {})
        assert str(caught.value).startswith(words)
        assert len(caught.value.lines) == 1

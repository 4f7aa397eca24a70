"""Splits a chain's text into stages, where a shell would split it: at each `|` at the top level.

It knows just enough of the shell's grammar (POSIX, Shell Command Language, 2.2 Quoting, 2.3 Token Recognition, 2.9
Shell Commands) to find each such `|`; what a stage means is left to the shell that runs it. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from fws_pipe.errors import ChainError

# The longest first: "||" is not two pipes, ">|" is a redirection.
_OPERATORS = (
    "<<<",
    "<<-",
    "&&",
    "||",
    ";;",
    "<<",
    ">>",
    "<&",
    ">&",
    "<>",
    ">|",
    "|",
    "&",
    ";",
    "<",
    ">",
    "(",
    ")",
    "\n",
)
_REDIRECTIONS = frozenset({"<", ">", ">>", "<&", ">&", "<>", ">|", "<<", "<<-", "<<<"})
_HERE_DOCUMENTS = frozenset({"<<", "<<-"})
_TEXT = "<<text"
_QUOTES = re.compile(r"""['"\\]""")
_SEPARATORS = frozenset({";", "&", "&&", "||", "\n", ";;"})
_OPERATOR_CHARACTERS = frozenset("|&;<>()\n")

_CLOSERS = {"(": ")", "{": "}", "if": "fi", "while": "done", "until": "done", "for": "done", "case": "esac"}
_OPENING_WORDS = frozenset(_CLOSERS) - {"("}
_CLOSING_WORDS = frozenset(_CLOSERS.values()) - {")"}
_WORDS_BEFORE_A_COMMAND = frozenset({"!", "{", "if", "then", "else", "elif", "while", "until", "do"})
_RESERVED_WORDS = _OPENING_WORDS | _CLOSING_WORDS | _WORDS_BEFORE_A_COMMAND

_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\+?=")


_NO_HERE_DOCUMENT = (
    "`<<` can't be used in a chain, since its text would follow the last stage; put the command and its text into "
    "( … ), or into a script"
)


@dataclass(frozen=True)
class Stage:
    """One stage of a chain, as text.

    `start` is its offset in the chain, in characters. `command` is the (start, end) of its command word within `text`,
    behind assignments and redirections; None when the stage is no simple command, such as `( … )`, `while …`, `a; b`.
    """

    text: str
    start: int
    command: tuple[int, int] | None

    @property
    def word(self) -> str | None:
        """The command word as it is written, with its quotes; None when the stage is no simple command."""
        return None if self.command is None else self.text[self.command[0] : self.command[1]]


class _Token(NamedTuple):
    text: str
    start: int
    end: int
    is_word: bool


def split_chain(chain: str, *, has_dollar_quotes: bool = False) -> list[Stage]:
    """Split a chain into its stages. Raises ChainError for an empty stage or an unclosed quote or bracket.

    `has_dollar_quotes`: the shell reads $'…' as a quotation, in which \\' is a quote (POSIX since 2024; not dash).
    """
    stages: list[Stage] = []
    start = 0
    tokens: list[_Token] = []
    grammar = _Grammar(chain)
    scanner = _Scanner(chain, has_dollar_quotes=has_dollar_quotes)
    for token in scanner.tokens():
        if token.text == "|" and not token.is_word and grammar.at_top_level:
            awaited = scanner.here_documents.awaited_since
            if awaited is not None:
                raise ChainError(_NO_HERE_DOCUMENT, chain, awaited)
            stages.append(_stage(chain, tokens, culprit=token.start))
            start, tokens = token.end, []
            if chain[start : start + 1] == "&":
                problem = "`|&` can't be used in a chain: what stages write to stderr goes to the server's stderr"
                raise ChainError(problem, chain, token.start)
            grammar.begin_command()
        elif token.text in _HERE_DOCUMENTS and not token.is_word and grammar.at_top_level:
            raise ChainError(_NO_HERE_DOCUMENT, chain, token.start)
        else:
            grammar.feed(token)
            tokens.append(token)
    grammar.finish()
    stages.append(_stage(chain, tokens, culprit=max(start - 1, 0)))
    return stages


def _stage(chain: str, tokens: list[_Token], culprit: int) -> Stage:
    while tokens and tokens[0].text == "\n":
        tokens = tokens[1:]
    while tokens and tokens[-1].text == "\n":
        tokens = tokens[:-1]
    if not tokens:
        raise ChainError("empty stage: a command is missing here", chain, culprit)
    offset = tokens[0].start
    span = _command(tokens)
    command = None if span is None else (span[0] - offset, span[1] - offset)
    return Stage(chain[offset : tokens[-1].end], offset, command)


def _command(tokens: list[_Token]) -> tuple[int, int] | None:
    """The (start, end) of a simple command's command word in the chain; None when it is no simple command."""
    if any(not token.is_word and token.text not in _REDIRECTIONS for token in tokens):
        return None
    i = 0
    while i < len(tokens):
        token = tokens[i]
        if not token.is_word:
            i += 2  # the operator and the word that it redirects to
        elif token.text.isdigit() and i + 1 < len(tokens) and _is_descriptor(token, tokens[i + 1]):
            i += 3
        elif _ASSIGNMENT.match(token.text):
            i += 1
        else:
            return None if token.text in _RESERVED_WORDS else (token.start, token.end)
    return None


def _is_descriptor(word: _Token, operator: _Token) -> bool:
    return not operator.is_word and operator.start == word.end


class _Grammar:
    """Tracks, token by token, which brackets and compound commands are open."""

    def __init__(self, chain: str) -> None:
        self._chain = chain
        self._open: list[_Token] = []
        self._expects_command = True

    @property
    def at_top_level(self) -> bool:
        return not self._open

    def begin_command(self) -> None:
        self._expects_command = True

    def feed(self, token: _Token) -> None:
        if token.is_word:
            self._feed_word(token)
        elif token.text == "(":
            self._open.append(token)
            self._expects_command = True
        elif token.text == ")":
            self._feed_closing_parenthesis(token)
        elif token.text in _SEPARATORS or token.text == "|":
            # After `;;` comes a pattern, or `esac`, which _feed_word recognises.
            self._expects_command = token.text != ";;"

    def _feed_word(self, token: _Token) -> None:
        in_case = bool(self._open) and self._open[-1].text == "case"
        if self._expects_command or (in_case and token.text == "esac"):
            if token.text in _OPENING_WORDS:
                self._open.append(token)
            elif token.text in _CLOSING_WORDS:
                self._close(token)
        self._expects_command = self._expects_command and token.text in _WORDS_BEFORE_A_COMMAND

    def _feed_closing_parenthesis(self, token: _Token) -> None:
        # The `)` behind a pattern of `case` closes no bracket.
        if not (self._open and self._open[-1].text == "case"):
            self._close(token)
        self._expects_command = True

    def _close(self, token: _Token) -> None:
        if not self._open or _CLOSERS[self._open[-1].text] != token.text:
            raise ChainError(f"`{token.text}` closes nothing", self._chain, token.start)
        self._open.pop()

    def finish(self) -> None:
        if self._open:
            token = self._open[-1]
            problem = f"`{token.text}` is never closed: `{_CLOSERS[token.text]}` is missing"
            raise ChainError(problem, self._chain, token.start)


class _Scanner:
    """Finds words and operators. Raises ChainError for an open quote or expansion."""

    def __init__(self, chain: str, *, has_dollar_quotes: bool) -> None:
        self._chain = chain
        self._has_dollar_quotes = has_dollar_quotes
        self.here_documents = _HereDocuments()

    def tokens(self) -> Iterator[_Token]:
        """Yield words and operators; comments and blanks are left out, the text of here-documents is a token _TEXT."""
        chain, i = self._chain, 0
        while i < len(chain):
            character = chain[i]
            if character in " \t" or chain.startswith("\\\n", i):
                i += 1 if character in " \t" else 2
            elif character == "#":
                i = self._find("\n", i)
            else:
                token = self._token(i)
                yield token
                i = self.here_documents.end_after(token, chain)
                if i > token.end:
                    yield _Token(_TEXT, token.end, i, is_word=False)

    def _token(self, i: int) -> _Token:
        chain = self._chain
        if chain.startswith(("<(", ">("), i):
            # Process substitution is a word in the shells that have it.
            end = self._end_of_word(self._end_of_parentheses(i + 1))
        elif chain[i] in _OPERATOR_CHARACTERS:
            operator = next(text for text in _OPERATORS if chain.startswith(text, i))
            return _Token(operator, i, i + len(operator), is_word=False)
        else:
            end = self._end_of_word(i)
        return _Token(chain[i:end], i, end, is_word=True)

    def _end_of_word(self, i: int) -> int:
        chain = self._chain
        while i < len(chain) and chain[i] not in " \t" and chain[i] not in _OPERATOR_CHARACTERS:
            i = self._end_of_piece(i)
        return i

    def _end_of_piece(self, i: int) -> int:
        """The end of the character, quotation or expansion that begins at `i`."""
        chain, character = self._chain, self._chain[i]
        if character == "\\":
            return min(i + 2, len(chain))
        if character == "'":
            return self._past(self._find("'", i + 1), i, "'")
        if character == '"':
            return self._end_of_double_quotes(i)
        if character == "`":
            return self._end_of_escaped(i, i + 1, "`")
        if self._has_dollar_quotes and chain.startswith("$'", i):
            return self._end_of_escaped(i, i + 2, "'")
        if chain.startswith("$(", i):
            return self._end_of_parentheses(i + 1)
        if chain.startswith("${", i):
            return self._end_of_braces(i + 1)
        return i + 1

    def _end_of_double_quotes(self, opening: int) -> int:
        chain, i = self._chain, opening + 1
        while i < len(chain) and chain[i] != '"':
            # Within double quotes a single quote is an ordinary character, behind a dollar too.
            i = i + 1 if chain[i] == "'" or chain.startswith("$'", i) else self._end_of_piece(i)
        return self._past(i, opening, '"')

    def _end_of_escaped(self, opening: int, i: int, mark: str) -> int:
        """The end of a quotation that `mark` closes and in which a backslash quotes the next character."""
        while i < len(self._chain) and self._chain[i] != mark:
            i += 2 if self._chain[i] == "\\" else 1
        return self._past(i, opening, mark)

    def _end_of_braces(self, opening: int) -> int:
        chain, i = self._chain, opening + 1
        while i < len(chain) and chain[i] != "}":
            i = self._end_of_piece(i)
        return self._past(i, opening, "}")

    def _end_of_parentheses(self, opening: int) -> int:
        """The end of `( … )`, in which a quoted or commented parenthesis does not count."""
        chain, i = self._chain, opening
        depth = 0
        at_word_start = True
        while i < len(chain):
            character = chain[i]
            if character == "#" and at_word_start:
                i = self._find("\n", i)
                continue
            if character in "()":
                depth += 1 if character == "(" else -1
                i += 1
                if depth == 0:
                    return i
            else:
                i = self._end_of_piece(i)
            at_word_start = character in " \t" or character in _OPERATOR_CHARACTERS
        return self._past(i, opening, ")")

    def _past(self, i: int, opening: int, mark: str) -> int:
        chain = self._chain
        if i >= len(chain):
            kind = "quote" if mark in "'\"`" else "bracket"
            raise ChainError(f"{kind} `{chain[opening]}` is never closed: `{mark}` is missing", chain, opening)
        return i + 1

    def _find(self, text: str, i: int) -> int:
        found = self._chain.find(text, i)
        return len(self._chain) if found < 0 else found


class _HereDocuments:
    """The here-documents that `<<word` has announced; their texts begin behind the next line break (POSIX, 2.7.4)."""

    def __init__(self) -> None:
        self._operator = ""
        """The operator whose word comes next, or empty."""
        self._announced: list[tuple[str, bool]] = []
        """For each, the line that ends it, and whether tabs may stand before that line."""
        self._start = 0
        """The offset at which the last one was announced."""

    @property
    def awaited_since(self) -> int | None:
        """The offset at which a here-document was announced whose text has not come yet; None: there is none."""
        return self._start if self._announced else None

    def end_after(self, token: _Token, chain: str) -> int:
        """The offset at which scanning goes on behind this token: past the texts that begin there."""
        i = token.end
        if not token.is_word:
            self._operator = token.text if token.text in _HERE_DOCUMENTS else ""
            if token.text == "\n":
                for last_line, may_be_indented in self._announced:
                    i = _end_of_here_document(chain, i, last_line, may_be_indented=may_be_indented)
                self._announced.clear()
        elif self._operator:
            self._start = token.start
            self._announced.append((_QUOTES.sub("", token.text), self._operator == "<<-"))
            self._operator = ""
        return i


def _end_of_here_document(chain: str, i: int, last_line: str, *, may_be_indented: bool) -> int:
    while i < len(chain):
        end = chain.find("\n", i)
        end = len(chain) if end < 0 else end
        line = chain[i:end]
        i = end + 1
        if (line.lstrip("\t") if may_be_indented else line) == last_line:
            break
    return min(i, len(chain))

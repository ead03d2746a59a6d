"""The rules of coco-caption's tokenizer, found by experiments with it.

The reference is CoreNLP 3.4.1's ``PTBTokenizer -preserveLines -lowerCase``. Like any lexer it takes, at each place,
the rule that matches the longest text, lookahead included, and the earlier rule of two. Its oddities are kept: they
are part of every published score.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from importlib import resources

ABBREVIATIONS = (
    "adj adm adv al ala alex apr ariz assn assoc asst atty attys aug ave bancorp bhd bldg blvd brig bros "
    "calif capt cf cie cmdr co col colo comdr conn corp cos cpl ct dak dec dept det dr drs elec ens esq "
    "est etc ext feb fla fri ft ga gen gov govs hon inc ind insp intl invt jan jos jr jul jun kan kans ky "
    "lieut lt ltd maj mar md messrs mfg mich minn mlle mme mo mon mont mr mrs ms msgr mt mtg natl neb nev "
    "nov oct okla penn pfc ph plc ppte ppty pres prof profs pte ptes pty ptys pvt rd rep reps rev rt sen "
    "sens sep sept seq sfc sgt spc sq sr st ste supt sys tel tenn thu thurs treas tue tues univ va vs vt "
    "wed wis wisc wm wyo"
)
# Those of the above and below that "x." makes an end of sentence: "etc.x" is two tokens, "mr.x" one
ENDING_ABBREVIATIONS = (
    "al ala apr ariz assn aug bancorp bhd bldg blvd bros calif co colo conn corp cos ct dak dec esq est etc "
    "ext feb fla fri ga inc ind intl jan jr jul jun kan kans ky ltd mar md mich minn mo mon mont neb nev nov "
    "oct okla penn plc ppte ppty pte ptes pty ptys rd rt sep sept seq sq sr sys tel tenn thu thurs tue tues "
    "univ va vt wed wis wisc wyo"
)
CAPITALISED = "ark az del ill la mass miss ore pa tex wash"
BEFORE_NUMBER = "art ca fig figs no nos op pp prop"
STARTERS = (
    "a about according additionally after an as at but he her here however if in it last many more now "
    "once one other our she since so some that the their then there these they this we what when while "
    "yet you"
)
ASSIMILATED = {"can": "not", "gim": "me", "gon": "na", "got": "ta", "lem": "me", "wan": "na"}


def _choice(words: str) -> str:
    return "|".join(sorted(words.split(), key=len, reverse=True))


def _read_classes() -> dict[str, str]:
    """Return the character classes of the reference, as the inside of a regular expression's set."""
    text = resources.files("showtell.metrics").joinpath("ptb_characters.json").read_text(encoding="utf-8")
    return {
        name: "".join("-".join(f"\\u{int(end, 16):04x}" for end in span.split("-")) for span in spans.split())
        for name, spans in json.loads(text).items()
    }


_CLASSES = _read_classes()
_L, _D = _CLASSES["letters"], _CLASSES["digits"]
_LM = _L + _CLASSES["marks"]
_SOFT = "\u00ad"
_IN_WORD = _LM + _D + _SOFT
_APOSTROPHE = "(?:['\u0092\u2019]|&apos;)"
_TICK = "(?:['\u0091\u0092\u2018\u2019\u201b`]|&apos;)"
_HYPHEN = "[\\-\u058a\u2010\u2011]"
_NBSP = "\u00a0"
_SPACE = f"[ \t{_NBSP}\u2000-\u200a\u3000]"

_SPACES = f"[\u0085{_SPACE[1:]}"

_ENTITY = "&[aeiouAEIOU](?:acute|grave|uml);"
_WORD = f"(?:[{_LM}{_SOFT}]|{_ENTITY})(?:[{_IN_WORD}]|{_ENTITY})*"
_NUMBER = f"[{_D}](?:{_SOFT}?[{_D}])*"
_PREFIX = f"(?:[dDlLoO]{_TICK}(?=[{_L}{_D}]{{2}}))?"
_THING = f"{_PREFIX}[{_L}{_D}]+"
_JOINED = f"{_THING}(?:_{_PREFIX}[{_L}{_D}]+)*"
_AMPED = "[A-Z]+(?:(?:[&+]|&amp;)[A-Z]+)+"
_ACRONYM = r"(?:[A-Za-z]\.){2,}"
_HYPHENED = f"{_JOINED}(?:{_HYPHEN}{_PREFIX}[{_L}{_D}]+(?:_{_PREFIX}[{_L}{_D}]+)*)+"
_DOTTED_HYPHENED = rf"[A-Za-z0-9][A-Za-z0-9.,{_SOFT}]*(?:-(?:{_ACRONYM}|[A-Za-z0-9{_SOFT}]+))+"
_SLASHED = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
_DOTTABLE = rf"{_WORD}(?:\.{_WORD})*"
_BANGED = f"{_DOTTABLE}(?:[!?]{_DOTTABLE})+"
_CAPITALISED = f"{_choice(CAPITALISED.title())}|{_choice(CAPITALISED.upper())}"
_ABBREVIATION = rf"(?:(?i:{_choice(ABBREVIATIONS)})|{_CAPITALISED})\."
_ENDING_ABBREVIATION = rf"(?:(?i:{_choice(ENDING_ABBREVIATIONS)}|ph\.d)|{_CAPITALISED})\."
_TAG_NAME = "[A-Za-z][A-Za-z0-9.:_\\-]*"
_ATTRIBUTE = "[A-Za-z][A-Za-z0-9.:_\\-]*(?: *= *(?:\"[^\"\n]*\"|'[^'\n]*'))?"
_TAG = f"(?:<[!?]?{_TAG_NAME}(?: +{_ATTRIBUTE})* *(?:/ *)?>|</{_TAG_NAME} *>|<!--[^>\n]*>)"
_STARTER = rf"(?:{_choice(STARTERS.title())}|{_choice(STARTERS.upper())}|M[rs]\.|{_TAG})(?:{_SPACE}|\n)"
_EXTENSION = _choice(
    "bat bmp c class cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl png ppt "
    "ps py sql tar txt wav x xml zip"
)
_AFTER_SMILEY = "[^A-Za-z0-9]"
_PATH = r"/[^ \t\n\f\r\"<>|()]+[^ \t\n\f\r\"<>|.!?(){},\-]"
_ENDING = f"{_APOSTROPHE}(?i:[msd]|re|ve|ll)"

_QUOTES = {
    **dict.fromkeys("`\u0091\u2018\u201b\u2039", "`"),
    **dict.fromkeys("\u0092\u2019\u203a", "'"),
    **dict.fromkeys("\u0093\u201c\u00ab", "``"),
    **dict.fromkeys("\u0094\u201d\u00bb", "''"),
    **{mark: mark for mark in "\u201a\u201e\u201f"},
}
_FRACTIONS = {"\u00bc": "1/4", "\u00bd": "1/2", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3"}
_BRACKETS = {"(": "-LRB-", ")": "-RRB-", "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-"}


def _word(token: str) -> str:
    return token.replace(_SOFT, "").replace("&amp;", "&")


def _solid(token: str) -> str:
    return token.replace(_SOFT, "")


def _straight(token: str) -> str:
    return re.sub("[\u0091\u2018\u201b]", "`", re.sub(_APOSTROPHE, "'", _word(token)))


def _bracketed(token: str) -> str:
    return "".join(_BRACKETS.get(character, character) for character in token)


def _spaced(token: str) -> str:
    return _bracketed(token.replace(" ", _NBSP).replace(_SOFT, ""))


def _smiley(token: str) -> str:
    return token.replace("(", "-LRB-").replace(")", "-RRB-")


def _quotes(token: str) -> str:
    return "".join(_QUOTES[character] for character in token)


def _becomes(text: str) -> Callable[[str], str]:
    return lambda token: text


# Token, lookahead, normalization before lower-casing
_ROWS: list[tuple[str, str, Callable[[str], str]]] = [
    # Tags
    (_TAG, "", _spaced),
    # Contractions
    *((f"(?i:{first})", f"(?i:{second})", _word) for first, second in ASSIMILATED.items()),
    ("'[Tt]", "(?i:is|was)", str),
    (f"[A-Za-z{_SOFT}]*[A-MO-Za-mo-z]{_SOFT}*", f"[Nn]{_TICK}[Tt]", _word),
    (f"[Nn]{_TICK}[Tt]", "", _straight),
    (_DOTTABLE, _ENDING, _word),
    (_ENDING, "[^A-Za-z]", _straight),
    (f"[Yy]{_APOSTROPHE}", f"[{_L}]", str),
    # Addresses
    (r"(?i:https?)://[^ \t\n\f\r\"<>|(){}]+[^ \t\n\f\r\"<>|.!?(){},\-]", "", str),
    (rf"www\.(?:[^ \t\n\f\r\"<>|.!?(){{}},]+\.)+[a-zA-Z]{{2,4}}(?:{_PATH})?", "", str),
    (rf"(?:[^ \t\n\f\r\"`'<>|.!?(){{}},-_$]+\.)+(?i:com|net|org|edu)(?:{_PATH})?", "", _solid),
    (
        rf"(?:<|&lt;)?[A-Za-z0-9][^ \t\n\f\r\"<>|(){{}}{_NBSP}]*@(?:[^ \t\n\f\r\"<>|(){{}}.{_NBSP}]+\.)*"
        rf"[^ \t\n\f\r\"<>|(){{}}.{_NBSP}]+(?:>|&gt;)?",
        "",
        str,
    ),
    # Abbreviations
    (_DOTTABLE, "", _word),
    (_ENDING_ABBREVIATION, r"[\s\S]{2}", str),
    (_ABBREVIATION, "", str),
    (rf"(?i:{_choice(BEFORE_NUMBER)})\.", f"{_SPACE}?[{_D}]", str),
    (r"(?:[A-Za-z]\.)+|[Pp][Hh]\.[Dd]\.", "", str),
    (r"[A-Za-z]", rf"\.(?:{_SPACES}*\n|{_SPACES}+{_STARTER})", str),
    # Words with an apostrophe
    (
        f"{_APOSTROPHE}[Nn]{_APOSTROPHE}?|[lLdDjJ]{_APOSTROPHE}|[oO]{_APOSTROPHE}[oO]|(?i:ol|dunkin|somethin){_APOSTROPHE}",
        "",
        str,
    ),
    (
        f"(?i:li{_APOSTROPHE}l|nat{_APOSTROPHE}l|cap{_APOSTROPHE}n|ev{_APOSTROPHE}ry|e{_APOSTROPHE}er)",
        "",
        str,
    ),
    (f"{_APOSTROPHE}(?i:em|till?|cause)", "", str),
    (f"[A-HJ-XZn]{_TICK}[{_L}]{{2}}[{_L}]*", "", _word),
    (f"[{_L}]+[aeiouyAEIOUY]{_TICK}[aeiouA-Z][{_L}]*", "", _word),
    (f"{_APOSTROPHE}[2-9]0[sS]", "", str),
    (f"{_APOSTROPHE}[{_D}]{{2}}", f"(?:{_SPACE}|\n)", str),
    # Tags of messages, and files
    (f"@[A-Za-z_][A-Za-z0-9_]*|#(?:[{_L}{_SOFT}]|{_ENTITY})+", "", str),
    (rf"[{_L}{_D}{_SOFT}]+(?:\.[{_L}{_D}{_SOFT}]+)*\.(?i:{_EXTENSION})", rf"(?:{_SPACE}|[\n.?!,])", str),
    # Words
    (f"{_JOINED}|{_WORD}", "", _word),
    (f"{_HYPHENED}", "", _word),
    (f"{_DOTTED_HYPHENED}", "", _word),
    (f"{_SLASHED}(?:\\\\?/{_SLASHED}){{1,2}}", "", _word),
    (_AMPED, "", _word),
    (_BANGED, "", _word),
    (
        rf"(?:{_DOTTABLE}|{_HYPHENED}|{_JOINED}|{_WORD}|{_BANGED}|{_DOTTED_HYPHENED}|{_AMPED})\.",
        "[,;:]",
        _word,
    ),
    ("[cC]\\+\\+|[cCfF]#|(?i:anti|pro)-", "", str),
    # Numbers
    (f"[{_D}]{{1,2}}[/\\-][{_D}]{{1,2}}[/\\-][{_D}]{{2,4}}", "", _word),
    (rf"[+\-]?(?:{_SOFT}?{_NUMBER}|[.,:\u066b\u066c]{_NUMBER})(?:[.,:\u066b\u066c]{_NUMBER})*", "", _word),
    (f"(?:[{_D}]{{1,4}}[ {_NBSP}\\-])?[{_D}]{{1,4}}(?:\\\\?/|\u2044)[{_D}]{{1,4}}", "", _spaced),
    (
        rf"(?:\([0-9]{{2,3}}\)[ {_NBSP}]?|(?:\+\+?)?(?:[0-9]{{2,4}}[\- {_NBSP}])?[0-9]{{2,4}}[\- {_NBSP}])"
        rf"[0-9]{{3,4}}[\- {_NBSP}]?[0-9]{{3,5}}",
        "",
        _spaced,
    ),
    (r"(?:(?:\+\+?)?[0-9]{2,4}\.)?[0-9]{2,4}\.[0-9]{3,4}\.[0-9]{3,5}", "", str),
    *((mark, "", _becomes(text)) for mark, text in _FRACTIONS.items()),
    # Money
    (r"[A-Z]*\$", "", str),
    ("[\u0080\u00a4\u20a0\u20ac]", "", _becomes("$")),
    ("\u00a2", "", _becomes("cents")),
    ("\u00a3", "", _becomes("#")),
    # Smileys
    (r"[<>]?[:;=][\-o*']?[()DPdpO\\{@|\[\]]", _AFTER_SMILEY, _smiley),
    (r"[\^x=~<>\-']_[\^x=~<>\-']", "", str),
    (r"\((?!.--)[\-'<=>^~x][_.\-]?[\-'<=>^~x]\)", "", _bracketed),
    # Marks
    (f"{_SPACE}+", "", _becomes("")),
    ("&(?:HT|TL|UR|LR|QC|QL|QR|odq|cdq|QUOT|APOS|#[0-9]+);", "", str),
    ("&(?i:lt);", "", _becomes("<")),
    ("&(?i:gt);", "", _becomes(">")),
    ("&(?i:amp);", "", _becomes("&")),
    ("&(?i:nbsp);", "", _becomes("")),
    ("&(?:(?i:mdash|ndash)|quot|apos);", "", _becomes("--")),
    (r"\.{3,5}|\.(?: \.){2,4}|[\u0085\u2026]", "", _becomes("...")),
    ('"', "", _becomes("''")),
    ("[`\u0091-\u0094\u2018-\u201f\u2039\u203a\u00ab\u00bb]{1,2}", "", _quotes),
    ("-{2,4}|[\u0096\u0097\u2013-\u2015]", "", _becomes("--")),
    ("'", f"[{_L}][^\n{_SPACE[1:]}", str),
    (_ENDING, "", _straight),
    (r"[?!]+|_+|\*+|(?:\\\*)+|@+|#+|-+|<<|>>|''|``", "", str),
    (r"[(){}\[\]]", "", _bracketed),
    (f"[{_CLASSES['symbols']}{_LM}{_D}*<>`',:;.!?$%&#@+/\\-_\u2044]", "", str),
    ("[\u00b2\u00b3\u00b9\u2070\u2074-\u2079]+|[\u2080-\u2089]+", "", str),
]


@cache
def rules() -> list[tuple[re.Pattern[str], Callable[[str], str]]]:
    """Return the pattern and the normalization of each token; compiled on first use, which takes most of a second."""
    return [
        (re.compile(f"(?P<token>{token})(?:{lookahead})", re.ASCII), normal)
        for token, lookahead, normal in _ROWS
    ]


# Texts in which a rule may match beyond a space
CONTEXT = re.compile(
    rf"[<{_D}\t{_NBSP}\u2000-\u200a\u3000]|\. ?\."
    rf"|(?:[^A-Za-z \-][A-Za-z]*|(?:^|[ \-])[A-Za-z])\.(?:{_SPACE}|$)"
)
# Words that are one token, alone and before a full stop or a comma
PLAIN = re.compile("[A-Za-z]{2,}(?:-[A-Za-z]{2,})*")
# Words that are two tokens, the second one a genitive
PLAIN_OWNER = re.compile("([A-Za-z]{2,})'s")
SPECIAL_WORDS = frozenset(
    [*ABBREVIATIONS.split(), *CAPITALISED.split(), *BEFORE_NUMBER.split()]
    + [first + second for first, second in ASSIMILATED.items()]
)

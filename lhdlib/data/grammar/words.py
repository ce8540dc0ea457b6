"""A note's words: spelling, typos of dictated notes, joined words, sentences."""

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from rapidfuzz import process
from rapidfuzz.distance import OSA

MAX_NOTE, MAX_WORD, MAX_SENTENCE = 200_000, 25, 300


# --- words ------------------------------------------------------------------------------------------------------------

_WORDS = {
    "bulge": "bulge bulges bulging bulged buldge",
    "protrusion": "protrusion protrusions protruded protruding protrudes",
    "herniation": "herniation herniations herniated herniating hernia prolapse prolapses prolapsed plid pivd hnp",
    "extrusion": "extrusion extrusions extruded extruding",
    "sequestration": "sequestration sequestrated sequestered sequestrum sequester sequestra",
    "annular tear": "tear tears torn tearing fissure fissures fissuring rupture ruptured",
    "press": "compress compresses compressing compression compressed compressive indent indents indenting indented "
    "indentation encroach encroaches encroaching encroached encroachment abut abuts abutting abutted impinge impinges "
    "impinging impinged impingement efface effaces effacing effaced effacement obliterate obliterates obliterating "
    "obliterated obliteration touching touches displacing displaces displaced displacement irritating irritates "
    "irritation impression pressing pressure contacting contacts compromise compromising compromised entrapment "
    "deforming flattening occluding occlusion",
    "narrow": "narrow narrowing narrowed narrows stenosis stenosed stenotic stenosing",
    "sac": "thecal theca dural dura sac sacs sca thecalsac csf cauda equina cord conus",
    "root": "nerve nerves root roots rootlet rootlets radicle radicles",
    "foramen": "foramen foramina foramens foraminal foraminae neuroforamina neuroforaminal recess recesses recessus",
    "exit": "exit exits exiting exist existing neural neuronal",
    "canal": "canal canals",
    "disc": "disc discs disk disks disci dics dsic dsics intervertebral",
    "space": "space spaces height",
    "annulus": "annular annulus anular anulus",
    "osteophyte": "osteophyte osteophytes osteophytic spur spurs spurring",
    "listhesis": "spondylolisthesis listhesis anterolisthesis retrolisthesis spondylolithesis slippage",
    "fracture": "fracture fractures fractured retropulsed retropulsion retropulsing",
    "facet hypertrophy": "facet facets facetal apophyseal arthropathy",
    "ligament hypertrophy": "flavum flava ligamentum ligament ligamentous ligaments",
    "post-operative change": "granulation fibrous fibrosis scar scarring adhesion adhesions enhancement enhancing",
    "lesion": "lesion lesions mass masses tumor tumour tumors tumours metastasis metastases metastatic neoplasm "
    "cyst cysts collection collections abscess hematoma haematoma lipomatosis hemangioma hemangiomas "
    "haemangioma haemangiomas schwannoma meningioma discitis spondylodiscitis infection",
    "dehydration": "dehydration dehydrated desiccation desiccated desiccating dissecating dissicating dissicated "
    "dissecated dessicated dessicating degeneration degenerated degenerative",
    "end-plate change": "modic endplate endplates plate plates schmorl schmorls",
    "no": "no not without negative absence absent nor neither never nil lack denies free nonsignificant",
    "non": "non",
    "stop": "but however except although though apart otherwise",
    "or": "or",
    "and": "and plus",
    "with": "with along associated",
    "seen": "noted seen present evident identified detected appreciated demonstrated visualized visualised found "
    "observed depicted note revealed",
    "is": "is are was were be been",
    "at": "at in of on involving affecting opposite",
    "to": "to down till until through thru upto",
    "over": "over upon",
    "level": "level levels",
    "bone": "vertebra vertebrae vertebral body bodies vertebras pedicle pedicles lamina laminae",
    "grade": "mild small large moderate diffuse wide broad minimal slight severe focal minor huge tiny",
    "central": "central centrally midline",
    "left": "left lt",
    "right": "right rt",
    "bilateral": "both bilateral bilaterally",
    "place": "posterior posterolateral paracentral paramedian anterior lateral subarticular",
    "multilevel": "multilevel multilevels multilevelled",
    "multi": "multiple several various multisegmental different",
    "all": "all every whole entire",
    "last": "last lower lowest lowermost distal caudal bottom",
    "first": "first upper uppermost",
    "lumbar": "lumbar lumber",
    "other": "other others rest remaining remainder",
    "same": "same this these those such above abovementioned aforementioned mentioned that",
    "mainly": "mainly mostly mostly noticeably noticibly notably noteably noticeable especially particularly "
    "predominantly predominately largest most more maximally marked markedly worst worse prominent chiefly primarily",
    "due": "due secondary by from caused because owing",
    "spinal": "spinal",
    "joint": "junction",
    # words of these notes that are a letter or two from one above; known, they are never taken for typos
    "": "the a an it its as also well here there significant evidence definite marrow normal adequate "
    "bulky years rural sacral feature features muscle spasm material materials extending extended extension edema "
    "hypertrophy hyperatrophy hypertrophied signal intensity post previous surgery operation about contrast study "
    "leading relatively causing cause causes showing shows show compare compared comparison spine lumbosacral "
    "spondylotic spondylosis changes change unchanged fixation bone wedging wedge loss partial aspect "
    "structure pelvic cervical thoracic dorsal spared space narrowly arrow tissue tissues discectomy laminectomy mri "
    "lss mildly largely slightly severely mention still likely probable probably possible mostly",
}
NUMBERS = {"one": 1, "single": 1, "two": 2, "both": 2, "three": 3, "four": 4, "five": 5}
_LEXICON = {word: tag for tag, words in _WORDS.items() for word in words.split()}
_LONG_WORDS = [word for word in _LEXICON if len(word) >= 5]


@lru_cache(maxsize=20_000)
def _tag(word: str) -> str:
    """Tag of a lower-case word, forgiving one typo in five letters, two in eight, three in twelve."""
    if word in _LEXICON:
        return _LEXICON[word]
    if not 5 <= len(word) <= MAX_WORD:
        return ""
    match = process.extractOne(word, _LONG_WORDS, scorer=OSA.distance, score_cutoff=min(len(word) // 4, 3))
    return _LEXICON[match[0]] if match else ""


class Token(NamedTuple):
    """A word, number, vertebra or mark of the note; `tag` is its part in the grammar."""

    tag: str
    word: str
    start: int
    end: int


_TOKEN = re.compile(
    r"(?P<vertebra>(?:(?<![^\W\d_])|(?<=\bat)|(?<=\band))(?:[CDTS] ?|L[ -]?)[0-9]{1,2}(?![0-9]))"
    r"|(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<word>(?:at|and)(?=[DTLS][0-9])|[^\W\d_]+)"
    r"|(?P<cut>\n|///?|[;|•])|(?P<mark>[-–—−‐/\\,&.:()+?*_=])",
    re.IGNORECASE,
)
_MARKS = {**dict.fromkeys("-–—−‐_=", "-"), "\\": "/", "+": "and", "&": "and"}


def read_words(text: str) -> list[Token]:
    """Words and marks of a note in reading order; "discbulge" is split in two, "bul ge" is mended."""
    out: list[Token] = []
    for match in _TOKEN.finditer(text):
        word, (start, end) = match.group().lower(), match.span()
        if match.lastgroup != "word":
            tag = "cut" if match.lastgroup == "cut" else _MARKS.get(word, word)
            out.append(Token(tag if match.lastgroup in ("cut", "mark") else match.lastgroup, word, start, end))
            continue
        before = out[-1] if out else None
        tag = _tag(word)
        if not tag and before and not before.tag and before.word.isalpha() and text[before.end : start] == " ":
            whole = before.word + word
            if word not in _LEXICON and before.word not in _LEXICON and len(whole) >= 5 and _LEXICON.get(whole):
                out[-1] = Token(_LEXICON[whole], whole, before.start, end)
                continue
        cut = 0 if tag or word in _LEXICON else _joint(word)
        if cut:
            out.append(Token(_LEXICON[word[:cut]], word[:cut], start, start + cut))
            word, start = word[cut:], start + cut
            tag = _LEXICON[word]
        out.append(Token(tag, word, start, end))
    return out


def _joint(word: str) -> int:
    """Where two known words run together, else 0."""
    if len(word) > MAX_WORD:
        return 0
    return next((i for i in range(2, len(word) - 2) if word[:i] in _LEXICON and word[i:] in _LEXICON), 0)


_DANGLING = {"at", "and", "or", "no", "with", "to", "bilateral", "press"}


def split_sentences(tokens: list[Token]) -> Iterator[list[Token]]:
    """Split at full stops, line ends and bullets; a line that ends in "of", "and", "no", ... runs on."""
    sentence: list[Token] = []
    for token in tokens:
        if token.tag == "cut" and token.word == "\n" and sentence and sentence[-1].tag in _DANGLING:
            continue
        if token.tag not in ("cut", "."):
            sentence.append(token)
        if sentence and (token.tag in ("cut", ".") or len(sentence) >= MAX_SENTENCE):
            yield sentence
            sentence = []
    if sentence:
        yield sentence

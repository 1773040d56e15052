"""Corpora: texts that can be run through a model."""

from __future__ import annotations

from fastapi import APIRouter

from app import catalog
from app.api.deps import Service, SettingsDep, StoreDep
from app.api.problems import answers
from app.errors import CorpusError
from app.schemas.corpus import Corpus, CorpusText
from app.schemas.page import Page

router = APIRouter(prefix="/corpora", tags=["corpora"])


@router.get("", operation_id="listCorpora", responses=answers())
def corpora(settings: SettingsDep, store: StoreDep) -> Page[Corpus]:
    """Every text that can be named in a request right now."""
    found = catalog.corpora(settings, store.texts())
    return Page(items=found, total=len(found), limit=len(found), offset=0)


@router.post("", operation_id="postCorpus", status_code=201, responses=answers(413, 422, 507))
def post_text(store: StoreDep, text: CorpusText) -> Corpus:
    """Keep a text as a corpus. The same text always gets the same name."""
    return store.put_text(text)


def corpus_of(service: Service, name: str, tokens: int, seen: int = 0) -> tuple[str, str]:
    """Title and fingerprint of the corpus `name`; an empty fingerprint where only a worker can fetch the text.

    Raises CorpusError when it is missing, or surely too short for `tokens` beside `seen` others at its start.
    """
    if name.startswith("hub:"):
        titles = {item.name: item.title for item in catalog.corpora(service.settings, [])}
        return titles.get(name, name), ""
    title, text = catalog.corpus_text(name, service.settings, service.store.read_text)
    if name.startswith("text:"):
        title = service.store.text(name.removeprefix("text:")).title
    size = len(text.encode("utf-8", "surrogatepass"))
    if tokens + seen > size + 1:  # a token is at least one byte; some tokenizers put a space before the text
        if seen:
            raise CorpusError(
                f"{title} has {size:,} bytes: its last {tokens:,} tokens overlap the {seen:,} that the run has seen.",
                hint="Ask for fewer tokens or name another corpus: held-out text must not overlap the run's.",
            ).at("body.tokens")
        raise CorpusError(
            f"{title} has {size:,} bytes, so it cannot have the {tokens:,} tokens that were asked for.",
            hint="Ask for fewer tokens or take a longer text; English has about four characters a token.",
        ).at("body.tokens")
    return title, catalog.corpus_fingerprint(text)

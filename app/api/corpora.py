"""Corpora: texts that can be run through a model."""

from __future__ import annotations

from fastapi import APIRouter

from app import catalog
from app.api.deps import SettingsDep, StoreDep
from app.api.problems import answers
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

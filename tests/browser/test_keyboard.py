"""Everything without a mouse: keys, the list of them, the jump box."""

from __future__ import annotations

from playwright.sync_api import expect

from frontend import ids
from tests.browser.conftest import Served
from tests.browser.dashboard import Dashboard


def test_keys_lead_to_the_neighbours_and_are_ignored_while_typing(board: Dashboard, served: Served) -> None:
    board.open(served.neuron_path(1, "up_proj", 5))
    for key, (layer, index) in {
        "ArrowRight": (1, 6),
        "ArrowLeft": (1, 5),
        "ArrowUp": (2, 5),
        "ArrowDown": (1, 5),
    }.items():
        board.page.keyboard.press(key)
        board.shows_neuron(served.neuron_path(layer, "up_proj", index))
    board.page.keyboard.press("/")
    jump = board.by_id(ids.JUMP)
    expect(jump).to_be_focused()
    board.page.keyboard.type("0.down_proj.1?")
    board.page.keyboard.press("ArrowLeft")
    expect(board.by_id("keys")).to_have_count(0)
    expect(jump).to_have_value("0.down_proj.1?")
    board.shows_neuron(served.neuron_path(1, "up_proj", 5))  # the arrow moved the cursor, not the page
    board.page.keyboard.press("End")
    board.page.keyboard.press("Backspace")
    board.page.keyboard.press("Enter")
    board.shows_neuron(served.neuron_path(0, "down_proj", 1))


def test_arrows_stop_at_the_ends(board: Dashboard, served: Served) -> None:
    board.open(served.neuron_path(0, "up_proj", 0))
    for key in ("ArrowLeft", "ArrowDown"):
        board.page.keyboard.press(key)
    board.page.keyboard.press("ArrowRight")
    board.shows_neuron(served.neuron_path(0, "up_proj", 1))


def test_a_question_mark_lists_the_keys(board: Dashboard, served: Served) -> None:
    board.open(served.run_path)
    board.page.locator("h1").click()
    board.page.keyboard.press("?")
    dialog = board.page.get_by_role("dialog", name="Keys")
    expect(dialog).to_be_visible()
    for words in ("previous neuron", "a random neuron", "jump to block.projection.neuron"):
        expect(dialog).to_contain_text(words)
    board.page.keyboard.press("ArrowRight")  # goes nowhere while the list is open
    board.page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    board.at(served.run_path)
    button = board.by_id(ids.KEYS_BUTTON)
    button.focus()
    board.page.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)

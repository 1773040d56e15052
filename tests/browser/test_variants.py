"""Pruning and expanding on the screen: the form, its estimate, the work followed, and what it did to a neuron."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, expect

from frontend import ids, theme
from tests.browser.conftest import EXPERTS, Made, Served, Visit
from tests.browser.dashboard import Dashboard, shown_number

DRAWN = "id => document.querySelector(`#${id} .js-plotly-plot .main-svg`) !== null"
TRACES = (
    "id => document.querySelector(`#${id} .js-plotly-plot`)._fullData"
    ".map(t => [t.name, t.visible, t.type, Array.from(t.customdata || t.y)])"
)


def _field(board: Dashboard, label: str) -> Locator:
    return board.page.locator(".variant-form").get_by_label(label, exact=True)


def _choose(board: Dashboard, control: Locator, option: str | re.Pattern[str]) -> None:
    control.click()
    board.page.get_by_role("option", name=option).click()


def _select(board: Dashboard, name: str) -> Locator:
    page = board.page
    return page.get_by_role("combobox", name=name).or_(page.get_by_role("textbox", name=name)).first


def _open(board: Dashboard, text: str) -> Locator:
    board.by_id(ids.VARIANT_BAR).get_by_role("button", name=text).click()
    form = board.page.locator(".variant-form")
    expect(form).to_be_visible()
    return form


def test_expanding_from_a_neuron_s_page_to_its_result(board: Dashboard, served: Served) -> None:
    where = served.client.layers(served.run)[-1]
    neuron = served.neuron_path(where.layer, where.projection, 2)
    board.open(neuron)
    expect(board.page.locator(".hint-card")).to_contain_text("What does sparsity do to this neuron?")
    form = _open(board, "Expand…")
    expect(form).to_contain_text("Experts of each layer: the clusters its inputs are dealt to.")
    expect(_field(board, "Layers")).to_have_value(f"this layer: block {where.layer} {where.projection}")
    _field(board, "Experts").fill("2")
    _field(board, "Sparsity").fill("60")
    expect(form.get_by_label("Also prune with the same settings")).to_be_checked()
    estimate = board.by_id(ids.VARIANT_ESTIMATE)
    expect(estimate).to_contain_text(re.compile("Expansion: about .* of memory, .* in the store"))
    expect(estimate).to_contain_text("Pruning: about")
    form.get_by_role("button", name="Start").click()

    board.page.wait_for_url(re.compile(r"\?pruning=p-[0-9a-f]{12}&expansion=x-[0-9a-f]{12}$"), timeout=60_000)
    expect(form).to_be_hidden()
    expect(board.by_id(ids.number("ri"))).to_be_visible(timeout=120_000)  # by itself: nobody reloads
    names = dict(re.findall(r"(pruning|expansion)=([px]-\w+)", board.page.url))
    assert served.client.pruning(served.run, names["pruning"]).title == "SparseGPT 60 %"
    assert served.client.expansion(served.run, names["expansion"]).title == "2 experts 60 %"
    found = served.client.distributions(served.run, where.layer, where.projection, 2, **names)
    assert board.number("ri")[1] == found.ri
    expect(board.by_id(ids.JOB_PANEL)).to_have_count(0)
    board.open("/jobs")
    table = board.by_id(ids.JOBS_TABLE)
    expect(table).to_contain_text(f"2 experts 60 %: block {where.layer} {where.projection}")
    expect(table).to_contain_text(f"SparseGPT 60 %: block {where.layer} {where.projection}")


def test_numbers_are_those_of_the_service(board: Dashboard, made: Made) -> None:
    client, names = made.served.client, {"pruning": made.pruning, "expansion": made.expansion}
    found = client.distributions(made.served.run, made.layer, made.projection, 1, **names)
    assert found.pruning is not None
    assert found.expansion is not None
    board.open(made.neuron_path(1) + made.query)
    for column, changed in (("sparse", found.pruning), ("expanded", found.expansion)):
        for name in ("wd", "w1", "rmse", "relative_rmse", "zero_share"):
            shown, full = board.number(f"{column}-{name}")
            assert full == getattr(changed, name), (column, name)
            assert shown == float(f"{full:.3g}")
    assert board.number("dense-wd")[1] == found.wd
    assert board.number("expanded-weighted_wd")[1] == found.expansion.weighted_wd
    assert board.number("expanded-weighted_md")[1] == found.expansion.weighted_md
    assert board.number("ri")[1] == found.ri


def test_the_overlay_holds_all_four_and_its_legend_hides_them(board: Dashboard, made: Made) -> None:
    client, names = made.served.client, {"pruning": made.pruning, "expansion": made.expansion}
    found = client.distributions(made.served.run, made.layer, made.projection, 1, **names)
    assert found.pruning is not None
    board.open(made.neuron_path(1) + made.query + "&y=log")
    plot = board.plot(ids.DISTRIBUTION_GRAPH)
    assert plot["data"] == ["bar", "scatter", "scatter", "scatter"]
    assert plot["y"] == "log"
    traces = {name: counts for name, _, _, counts in board.page.evaluate(TRACES, ids.DISTRIBUTION_GRAPH)}
    assert list(traces) == ["dense", "sparse", "expanded", "Gaussian"]
    assert sum(traces["dense"]) == sum(traces["sparse"]) == sum(traces["expanded"]) == found.tokens
    assert traces["sparse"] == found.pruning.counts
    legend = board.by_id(ids.DISTRIBUTION_GRAPH).locator(".legendtoggle")
    legend.nth(1).click()
    board.page.wait_for_function(
        "id => document.querySelector(`#${id} .js-plotly-plot`)._fullData[1].visible === 'legendonly'",
        arg=ids.DISTRIBUTION_GRAPH,
    )


def test_experts_in_one_scale_with_sizes_and_in_words(board: Dashboard, made: Made) -> None:
    client = made.served.client
    found = client.distributions(
        made.served.run, made.layer, made.projection, 1, expansion=made.expansion
    ).expansion
    assert found is not None
    board.open(made.neuron_path(1) + made.query)
    board.plot(ids.EXPERTS_GRAPH)
    card = board.by_id(ids.EXPERTS)
    for expert in found.experts:
        expect(card).to_contain_text(f"{expert.tokens:,} tokens")
    traces = board.page.evaluate(TRACES, ids.EXPERTS_GRAPH)
    drawn = {name: counts for name, _, _, counts in traces if str(name).startswith("expert ")}
    assert drawn == {f"expert {expert.expert}": expert.counts for expert in found.experts}
    ranges = board.page.evaluate(
        "id => { const l = document.querySelector(`#${id} .js-plotly-plot`)._fullLayout;"
        " return Object.keys(l).filter(k => /^yaxis/.test(k)).map(k => l[k].range.join()); }",
        ids.EXPERTS_GRAPH,
    )
    assert len(set(ranges)) == 1
    card.get_by_role("link", name="stacked").click()
    board.page.wait_for_url("**experts=stacked*")
    board.settled()
    assert board.plot(ids.EXPERTS_GRAPH)["data"] == ["bar"] * EXPERTS + ["scatter"]
    card.get_by_role("link", name="tokens", exact=True).click()
    tokens = client.experts(made.served.run, made.expansion, made.layer, made.projection)
    rows = card.locator(".ag-center-cols-container .ag-row")
    expect(rows).to_have_count(EXPERTS)
    row = card.locator(".ag-center-cols-container .ag-row[row-id='1']")
    expect(row.locator("[col-id='tokens']")).to_have_text(f"{tokens[1].tokens:,}")
    expect(row.locator(".expert-chip")).to_have_text("1")
    expect(row.locator("[col-id='commonest'] code")).to_have_count(len(tokens[1].commonest))
    row.locator("[col-id='tokens']").click()
    expect(board.by_id(ids.EXPERT_EXAMPLES).locator(".tokens li")).to_have_count(len(tokens[1].examples))
    assert "experts=tokens" in board.page.url


def test_each_token_shows_its_expert(board: Dashboard, made: Made) -> None:
    client = made.served.client
    found = client.distributions(
        made.served.run, made.layer, made.projection, 1, expansion=made.expansion
    ).expansion
    assert found is not None
    neuron = client.neuron(made.served.run, made.layer, made.projection, 1)
    board.open(made.neuron_path(1) + made.query)
    chips = board.by_id(ids.TOKENS).locator(".expert-chip")
    wanted = [found.token_experts[token.position] for token in neuron.tokens.high]
    assert [int(text) for text in chips.all_inner_texts()] == wanted
    colour = chips.first.evaluate("e => getComputedStyle(e).backgroundColor")
    red, green, blue = (int(theme.expert_colour(wanted[0])[i : i + 2], 16) for i in (1, 3, 5))
    assert colour == f"rgb({red}, {green}, {blue})"


def test_what_is_chosen_goes_along(board: Dashboard, made: Made) -> None:
    board.open(made.neuron_path(1) + made.query)
    board.by_id(ids.NAV_NEXT).click()
    board.shows_neuron(made.neuron_path(2))
    assert board.page.url.endswith(made.query)
    board.page.keyboard.press("ArrowLeft")
    board.shows_neuron(made.neuron_path(1))
    assert board.page.url.endswith(made.query)
    board.by_id(ids.BREADCRUMBS).get_by_role("link", name=f"block {made.layer}").click()
    board.at(made.layer_path)
    assert board.page.url.endswith(made.query)
    board.click_row(0, "ri")
    board.page.wait_for_url(f"**{made.layer_path}/neurons/*{made.query}")
    board.by_id(ids.BREADCRUMBS).get_by_role("link", name="Map").click()
    board.at(made.served.run_path)
    assert board.page.url.endswith(made.query)
    box = board.by_id(ids.JUMP)
    box.fill(f"{made.layer}.{made.projection}.3")
    box.press("Enter")
    board.shows_neuron(made.neuron_path(3))
    assert board.page.url.endswith(made.query)


def test_the_selectors_choose_and_clear(board: Dashboard, made: Made) -> None:
    board.open(made.neuron_path(1))
    _choose(board, _select(board, "Pruning"), re.compile(r"SparseGPT 75 % \(1 of \d+ layers\)"))
    board.page.wait_for_url(f"**?pruning={made.pruning}")
    expect(board.by_id(ids.COMPARISON)).to_contain_text("RI needs an expansion")
    _choose(board, _select(board, "Expansion"), re.compile(f"{EXPERTS} experts 75 %"))
    board.page.wait_for_url(f"**{made.query}")
    expect(board.by_id(ids.number("ri"))).to_be_visible()
    _choose(board, _select(board, "Pruning"), "none")
    board.page.wait_for_url(f"**?expansion={made.expansion}")
    expect(board.by_id(ids.COMPARISON)).to_contain_text("RI needs a pruning")


def test_a_layer_not_done_offers_the_form_with_the_same_settings(board: Dashboard, made: Made) -> None:
    other = next(
        s
        for s in made.served.client.layers(made.served.run)
        if (s.layer, s.projection) != (made.layer, made.projection) and s.layer == made.layer
    )
    board.open(made.served.neuron_path(other.layer, other.projection, 0) + made.query)
    results = board.by_id(ids.RESULTS)
    expect(results).to_contain_text("This layer is not pruned yet")
    expect(results).to_contain_text("This layer is not expanded yet")
    results.get_by_role("button", name="Expand this layer the same way").click()
    expect(board.page.locator(".variant-form")).to_contain_text(
        f"Filled in as {EXPERTS} experts 75 % was made."
    )
    expect(_field(board, "Experts")).to_have_value(str(EXPERTS))
    expect(_field(board, "Sparsity")).to_have_value("75 %")
    board.page.keyboard.press("Escape")
    expect(board.page.locator(".variant-form")).to_be_hidden()


def test_what_does_not_fit_is_said_at_its_field(board: Dashboard, made: Made) -> None:
    board.open(made.layer_path)
    form = _open(board, "Prune…")
    start = form.get_by_role("button", name="Start")
    expect(start).to_be_enabled()
    sparsity = _field(board, "Sparsity")
    sparsity.fill("150")
    expect(form).to_contain_text("Between 0 and 100 %.")
    expect(start).to_be_disabled()
    sparsity.fill("50")
    expect(form).not_to_contain_text("Between 0 and 100 %.")
    expect(start).to_be_enabled()
    pattern = _field(board, "N:M pattern")
    pattern.fill("3:7")  # only the service knows the widths
    expect(form).to_contain_text("groups of 7")
    expect(form).to_contain_text("nearest M")
    expect(pattern).to_have_attribute("aria-invalid", "true")
    expect(start).to_be_disabled()
    expect(sparsity).to_be_disabled()
    pattern.fill("2:4")
    expect(start).to_be_enabled()
    expect(board.by_id(ids.VARIANT_ESTIMATE)).to_contain_text("Pruning: about")


def test_done_already_shows_at_once(board: Dashboard, made: Made) -> None:
    board.open(f"{made.layer_path}?pruning={made.pruning}")
    form = _open(board, "Prune…")
    expect(board.by_id(ids.VARIANT_ESTIMATE)).to_contain_text("done already, it shows at once")
    form.get_by_role("button", name="Start").click()
    expect(form).to_be_hidden()
    board.at(made.layer_path)
    assert board.page.url.endswith(f"?pruning={made.pruning}")
    expect(board.by_id(ids.RESULTS)).to_contain_text("SparseGPT 75 %")


def test_colours_of_what_was_done(board: Dashboard, made: Made) -> None:
    client, names = made.served.client, {"pruning": made.pruning, "expansion": made.expansion}
    board.open(f"{made.layer_path}{made.query}")
    _choose(board, _select(board, "colour"), "RI")
    board.page.wait_for_url("**colour=ri*")
    board.settled()
    board.page.wait_for_function(DRAWN, arg=ids.LAYER_GRAPH)
    drawn = board.page.evaluate(
        "id => document.querySelector(`#${id} .js-plotly-plot`)._fullData[0].z.map(row => Array.from(row)).flat()",
        ids.LAYER_GRAPH,
    )
    wanted = client.layer(made.served.run, made.layer, made.projection, ["ri"], **names).metrics["ri"]
    ratios = [2**value for value in drawn[: len(wanted)]]
    assert ratios == pytest.approx(wanted, rel=1e-4)
    for number, row in enumerate(
        client.neurons(
            made.served.run, layer=made.layer, projection=made.projection, sort="-wd", limit=3, **names
        ).items
    ):
        assert row.effects is not None
        assert row.effects.ri is not None
        assert shown_number(board.cell(number, "ri")) == float(f"{row.effects.ri:.3g}")


def test_metrics_without_their_variant_cannot_be_taken(board: Dashboard, made: Made) -> None:
    board.open(made.layer_path)
    _select(board, "colour").click()
    option = board.page.get_by_role("option", name="RI (needs a pruning and an expansion)")
    expect(option).to_be_visible()
    expect(option).to_have_attribute("data-combobox-disabled", "true")


def test_layers_not_done_are_hatched_and_lead_to_their_page(board: Dashboard, made: Made) -> None:
    layers = made.served.client.layers(made.served.run)
    names = list(dict.fromkeys(layer.projection for layer in layers))
    board.open(f"{made.served.run_path}{made.query}&metric=ri")
    expect(board.page.get_by_role("heading", name="Map of RI")).to_be_visible()
    assert sorted(set(board.plot(ids.MAP_GRAPH)["data"])) == ["bar", "heatmap"]
    expect(board.by_id(ids.PAGE)).to_contain_text(f"Hatched: {len(layers) - 1} of {len(layers)} layers")
    below = made.layer - 1
    subplot = names.index(made.projection)
    hover = board.click_cell(ids.MAP_GRAPH, x=3, y=below, subplot=subplot)
    assert "not pruned and not expanded yet" in hover
    board.at(made.served.layer_path(below, made.projection))
    assert "pruning=" in board.page.url
    expect(board.by_id(ids.RESULTS)).to_contain_text("This layer is not expanded yet")
    board.open(f"{made.served.layer_path(below, made.projection)}{made.query}&colour=ri")
    assert "not pruned and not expanded yet" in board.click_cell(ids.LAYER_GRAPH, x=2, y=0)
    board.shows_neuron(made.served.neuron_path(below, made.projection, 2))


def test_an_unknown_pruning_in_the_address_is_said(board: Dashboard, made: Made) -> None:
    board.open(f"{made.layer_path}?pruning=p-ffffffffffff&expansion={made.expansion}")
    panel = board.by_id(ids.VARIANT_MISSING)
    expect(panel).to_contain_text("p-ffffffffffff")
    board.page.wait_for_timeout(500)  # that the address stays can only be waited for
    assert "p-ffffffffffff" in board.page.url
    panel.get_by_role("link").click()
    board.page.wait_for_url(f"**{made.layer_path}?expansion={made.expansion}")
    expect(panel).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_form_fits_and_can_be_closed_by_key(visit: Visit, made: Made, scheme: str) -> None:
    board = visit(made.served.url, color_scheme=scheme)
    board.open(made.layer_path)
    form = _open(board, "Expand…")
    board.page.wait_for_function(  # once it has slid in
        "() => document.querySelector('.variant-form').getBoundingClientRect().right <= innerWidth"
    )
    assert board.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    cut = form.evaluate(
        "f => Array.from(f.querySelectorAll('label, p, button, summary')).filter(e => e.scrollWidth > e.clientWidth + 1"
        " && getComputedStyle(e).display !== 'inline').map(e => e.textContent)"
    )
    assert cut == []
    board.page.keyboard.press("ArrowRight")  # moves nothing behind the form
    board.page.keyboard.press("Escape")
    expect(form).to_be_hidden()
    assert board.page.url == board.url + made.layer_path

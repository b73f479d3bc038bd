"""The routes under `/rules`: a viewer reads, an analyst writes, tries and silences, a lead approves and ends."""

from __future__ import annotations

from starlette.routing import BaseRoute, Route
from starlette.templating import Jinja2Templates

from review.person import Role
from review.web.backtest_page import BacktestPage
from review.web.needs import Page, needs
from review.web.parts import Parts
from review.web.rule_editor_page import RuleEditorPage
from review.web.rule_lists_page import RuleListsPage
from review.web.rule_page import RulePage
from review.web.rule_room import RuleRoom
from review.web.rule_suggest_page import RuleSuggestPage
from review.web.rules_page import RulesPage


def rule_routes(parts: Parts, templates: Jinja2Templates) -> list[BaseRoute]:
    """All of them. Without a rule book each says what to set."""
    room = RuleRoom(parts, templates)
    book, editor, lists = RulesPage(room), RuleEditorPage(room), RuleListsPage(room)
    rule, trial, suggest = RulePage(room, book), BacktestPage(room), RuleSuggestPage(room)

    def get(path: str, page: Page, role: Role = "viewer") -> Route:
        return Route(path, needs(role)(room.answers(page)), methods=["GET"])

    def post(path: str, page: Page, role: Role = "analyst") -> Route:
        return Route(path, needs(role)(room.answers(page)), methods=["POST"])

    # A rule may be called like one of the first: `rule_address` says how it is reached then.
    return [
        get("/rules", book.page),
        get("/rules/history", book.history),
        get("/rules/new", editor.new, "analyst"),
        post("/rules/new", editor.write),
        post("/rules/check", editor.check),
        get("/rules/words", editor.words, "analyst"),
        post("/rules/try", editor.attempt),
        get("/rules/suggest", suggest.page, "analyst"),
        post("/rules/suggest", suggest.chosen),
        get("/rules/lists", lists.page),
        post("/rules/lists/put", lists.put),
        post("/rules/lists/take-off", lists.take_off),
        post("/rules/lists/agree", lists.agree, "lead"),
        post("/rules/lists/refuse", lists.refuse),
        get("/rules/trials/{id}", trial.page),
        post("/rules/trials/{id}/cancel", trial.cancel),
        get("/rules/{name}", rule.page),
        post("/rules/{name}/lead/{deed}", rule.lead, "lead"),
        post("/rules/{name}/{deed}", rule.do),
    ]

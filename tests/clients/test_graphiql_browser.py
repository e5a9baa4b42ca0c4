"""This module is where a person with a browser signs in, asks and watches, and nothing leaves for another host."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import Page, async_playwright, expect

from tests.clients.conftest import HERE, Gateway
from tests.report import record

pytestmark = pytest.mark.clients

CHROMIUM = "/usr/bin/chromium"
OUTPUT = HERE / "output"


@asynccontextmanager
async def browsing(gateway: Gateway) -> AsyncIterator[tuple[Page, list[str]]]:
    """A page of a fresh browser, and every address that it asks for, sockets included."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-component-update", "--disable-background-networking"],
        )
        try:
            context = await browser.new_context(viewport={"width": 1440, "height": 900}, color_scheme="dark")
            page = await context.new_page()
            page.set_default_timeout(15_000)
            asked: list[str] = []
            context.on("request", lambda request: asked.append(request.url))
            page.on("websocket", lambda socket: asked.append(socket.url))
            await page.goto(gateway.graphql)
            yield page, asked
        finally:
            await browser.close()


async def sign_in(page: Page, credentials: dict[str, str]) -> None:
    for name, value in credentials.items():
        await page.fill(f"#sign-in [name={name}]", value)
    await page.click("#sign-in [type=submit]")


async def beat(gateway: Gateway, current_task: str) -> None:
    """One heartbeat of a living workspace, as an agent sends it."""
    headers = {"authorization": gateway.key("acme")}
    async with httpx.AsyncClient(base_url=gateway.url, headers=headers) as agent:
        query = "{ workspaces(first: 1, filter: { status: [ONLINE] }) { nodes { id } } }"
        found = (await agent.post("/graphql", json={"query": query})).json()
        (workspace,) = found["data"]["workspaces"]["nodes"]
        one = {"workspaceId": workspace["id"], "activeTasks": 1, "currentTask": current_task}
        answer = await agent.post("/ingest/heartbeats", json=one)
        assert answer.status_code == 200, answer.text


async def test_a_person_signs_in_queries_and_watches_live_and_no_other_host_is_asked(gateway: Gateway) -> None:
    async with browsing(gateway) as (page, asked):
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        await sign_in(page, gateway.credentials("acme", "operator"))
        await expect(page.locator("#identity")).to_be_visible()

        await page.get_by_role("tab", name="Fleet").click()
        await page.click(".graphiql-execute-button")
        await expect(page.locator(".result-window")).to_contain_text('"totalCount"')
        await expect(page.locator(".result-window")).not_to_contain_text('"errors"')

        await page.get_by_role("tab", name="Heartbeats").click()
        await page.click(".graphiql-execute-button")
        await expect(page.locator("#live")).to_have_text("1 live stream")
        await expect(page.locator(".result-window")).to_contain_text('"receivedAt"')
        for task in ("sorting the post", "watering the plants"):
            await beat(gateway, current_task=task)
            await expect(page.locator(".result-window")).to_contain_text(task)
        OUTPUT.mkdir(exist_ok=True)
        await page.screenshot(path=OUTPUT / "graphiql.png")

        await page.click(".graphiql-execute-button")
        await expect(page.locator("#live")).to_have_text("No stream")
        hosts = {urlsplit(url).netloc for url in asked if not url.startswith(("data:", "blob:"))}
        assert hosts == {urlsplit(gateway.url).netloc}
        assert any(url.startswith("ws://") for url in asked)
        assert problems == []
        record(2, "GraphiQL signs in, queries, watches live", len(asked), "0 requests to other hosts")


async def test_a_wrong_password_is_told_and_nobody_is_signed_in(gateway: Gateway) -> None:
    async with browsing(gateway) as (page, _):
        await sign_in(page, {**gateway.credentials("acme", "viewer"), "password": "not this one"})
        await expect(page.locator("#sign-in .problem")).to_be_visible()
        await expect(page.locator("#identity")).to_be_hidden()


async def test_signing_out_ends_the_session_and_its_streams(gateway: Gateway) -> None:
    async with browsing(gateway) as (page, _):
        await sign_in(page, gateway.credentials("acme", "viewer"))
        await expect(page.locator("#identity")).to_be_visible()
        await page.get_by_role("tab", name="StatusChanges").click()
        await page.click(".graphiql-execute-button")
        await expect(page.locator("#live")).to_have_text("1 live stream")
        await page.click("#sign-out")
        await expect(page.locator("#open-sign-in")).to_be_visible()
        await expect(page.locator("#live")).to_have_text("No stream")
        assert await page.evaluate("sessionStorage.length") == 0


async def test_a_reload_keeps_the_session_of_the_tab(gateway: Gateway) -> None:
    async with browsing(gateway) as (page, _):
        await sign_in(page, gateway.credentials("acme", "viewer"))
        await expect(page.locator("#identity")).to_be_visible()
        await page.reload()
        await expect(page.locator("#identity")).to_be_visible()
        await expect(page.locator("#sign-in")).to_be_hidden()

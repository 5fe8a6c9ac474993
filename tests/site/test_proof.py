"""The proof of chapter 09 in a browser, without Python."""

import pytest
from browser import chromium
from torchvision import datasets

from mnist_nb.data import fetch
from mnist_nb.live.proof import proof


@pytest.fixture(scope="module")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def part():
    files = datasets.MNIST(fetch())
    data = {"images": files.data[:60].numpy(), "labels": files.targets[:60].byte().numpy()}
    data["images"] = data["images"].reshape(-1, 784)
    return proof(data, seed=3, hidden=8, lr=0.1, epochs=2)


def pressed(browser, html: str, **kind):
    page = browser.new_page(**kind)
    page.set_content(f"<!doctype html><html lang=en><title>Proof</title><body>{html}")
    page.get_by_role("button").press("Enter")
    return page


def test_the_page_trains_the_network_and_finds_pythons_numbers(browser, part):
    page = pressed(browser, part.html)
    rows = [row.locator("td").all_inner_texts() for row in page.locator("tbody tr").all()]
    assert len(rows) == 2
    assert all(python == here for _, python, here in rows)
    assert "agree to the last bit" in page.get_by_role("status").inner_text()


def test_the_page_says_so_if_a_number_differs(browser, part):
    wrong = part.html.replace('"checksum": ', '"checksum": 1')
    assert "agree" not in pressed(browser, wrong).get_by_role("status").inner_text()


def test_without_a_script_the_losses_of_python_are_there(browser, part):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.set_content(part.html)
    assert page.locator("tbody tr").count() == 2
    assert page.get_by_role("button").count() == 0

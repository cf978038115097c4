"""The joining of scripts into one."""

import pytest

from booking.web.pages.bundles import bundle, entries_of

SOURCES = {
    "page.js": """\
import { double as twice } from "./numbers.js";
import * as words from "./words.js";
words.say(twice(2));
""",
    "numbers.js": """\
import { two } from "./words.js";
export const double = (value) => two * value;
""",
    "words.js": """\
export { two } from "./two.js";
export function say(value) {
  console.log(value);
}
""",
    "two.js": "export const two = 2;\n",
}


def test_a_bundle_has_each_script_once_after_those_that_it_imports() -> None:
    assert entries_of(SOURCES) == ["page.js"]
    text = bundle("page.js", SOURCES)
    order = [text.index(f"$_{name} = (() =>") for name in ("two", "words", "numbers")]
    assert order == sorted(order)
    assert text.count("console.log") == 1
    assert "const { double: twice } = $_numbers;" in text
    assert "const words = $_words;" in text
    assert "return { say, two };" in text


@pytest.mark.parametrize(
    "line",
    [
        'import two from "./two.js";',
        'import "./two.js";',
        "export default 2;",
        "export let two = 2;",
        "export { two };",
    ],
)
def test_a_form_that_the_bundle_does_not_know_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match="another form"):
        bundle("two.js", {"two.js": f"{line}\n"})


def test_scripts_that_import_each_other_are_an_error() -> None:
    with pytest.raises(ValueError, match="imports itself"):
        bundle("a.js", {"a.js": 'import { b } from "./b.js";\n', "b.js": 'import { a } from "./a.js";\n'})

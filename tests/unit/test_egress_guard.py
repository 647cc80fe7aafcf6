"""The guard: names resolved once, all answers checked, the checked ones handed on."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.egress.allow import parse_allow
from shared.egress.guard import TTL, Guard
from shared.egress.target import parse_url
from shared.errors import StepFailedError

PUBLIC, OTHER = "93.184.216.34", "93.184.216.35"


class Dns:
    """Answers with the next of the given answers, the last one for ever; counts the questions."""

    def __init__(self, *answers: Sequence[str] | OSError) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked += 1
        await asyncio.sleep(0)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, OSError):
            raise answer
        return answer


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def admit(guard: Guard, url: str) -> tuple[str, ...]:
    return await guard.admit(parse_url(url)[0])


async def refusal(guard: Guard, url: str) -> StepFailedError:
    with pytest.raises(StepFailedError) as caught:
        await admit(guard, url)
    return caught.value


async def test_a_public_name_gives_all_its_addresses() -> None:
    """The caller connects to what was checked, in the resolver's order."""
    guard = Guard(resolve=Dns([PUBLIC, "2606:4700::1111"]))
    assert await admit(guard, "http://a.test/") == (PUBLIC, "2606:4700::1111")


@pytest.mark.parametrize(
    "inside", ["127.0.0.1", "10.0.0.1", "::1", "fe80::1%eth0", "::ffff:127.0.0.1", "169.254.169.254"]
)
async def test_one_forbidden_address_refuses_the_answer(inside: str) -> None:
    """A name that points outside and inside is refused, whichever comes first, and the inside is not told."""
    for answer in ([PUBLIC, inside], [inside, PUBLIC], [inside]):
        error = await refusal(Guard(resolve=Dns(answer)), "http://a.test/?token=s3cret")
        assert (error.code, error.category) == ("egress_refused", "error")
        assert "a.test" in error.message
        assert inside not in error.message
        assert "s3cret" not in error.message


async def test_answers_that_change_are_checked_anew() -> None:
    """A name that turns inward after its first answer is refused once that answer is too old to use."""
    dns, clock = Dns([PUBLIC], ["127.0.0.1"]), Clock()
    guard = Guard(resolve=dns, clock=clock)
    assert await admit(guard, "http://a.test/") == (PUBLIC,)
    clock.now += TTL - 0.1
    assert await admit(guard, "http://a.test/") == (PUBLIC,)
    assert dns.asked == 1
    clock.now += 0.2
    assert (await refusal(guard, "http://a.test/")).code == "egress_refused"


async def test_refusals_are_not_kept() -> None:
    """A name that was refused is asked again, so a mended one works at once."""
    guard = Guard(resolve=Dns(["10.0.0.1"], [PUBLIC]))
    await refusal(guard, "http://a.test/")
    assert await admit(guard, "http://a.test/") == (PUBLIC,)


async def test_addresses_need_no_lookup() -> None:
    """A literal address is judged by itself."""
    dns = Dns(OSError("no lookup expected"))
    guard = Guard(parse_allow("127.0.0.1:8080"), resolve=dns)
    assert await admit(guard, "http://1.1.1.1/") == ("1.1.1.1",)
    assert await admit(guard, "http://0x7f.1:8080/") == ("127.0.0.1",)
    assert "is a loopback address" in (await refusal(guard, "http://127.0.0.1:8081/")).message
    assert dns.asked == 0


async def test_verdicts_are_kept_per_port() -> None:
    """An address that is allowed on one port is not thereby allowed on another."""
    guard = Guard(parse_allow("a.test:8080"), resolve=Dns(["10.0.0.1"]))
    assert await admit(guard, "http://a.test:8080/") == ("10.0.0.1",)
    assert (await refusal(guard, "http://a.test/")).code == "egress_refused"


async def test_an_allowed_network_allows_names_in_it() -> None:
    """A name is allowed by its addresses, as long as all of them are."""
    allow = parse_allow("10.0.0.0/8")
    assert await admit(Guard(allow, resolve=Dns(["10.0.0.1", PUBLIC])), "http://a.test/") == ("10.0.0.1", PUBLIC)
    assert (
        await refusal(Guard(allow, resolve=Dns(["10.0.0.1", "127.0.0.1"])), "http://a.test/")
    ).code == "egress_refused"


@pytest.mark.parametrize("answer", [[], OSError("unknown")])
async def test_a_name_without_addresses_is_a_network_error(answer: list[str] | OSError) -> None:
    """What does not resolve may resolve later, so it can be tried again."""
    error = await refusal(Guard(resolve=Dns(answer)), "http://a.test/")
    assert (error.code, error.category) == ("network_error", "network")


async def test_simultaneous_callers_share_one_lookup() -> None:
    """A thousand branches to one host ask once, and one that gives up does not spoil it for the rest."""
    dns = Dns([PUBLIC])
    guard = Guard(resolve=dns)
    calls = [asyncio.ensure_future(admit(guard, "http://a.test/")) for _ in range(50)]
    await asyncio.sleep(0)
    calls[0].cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert set(answers[1:]) == {(PUBLIC,)}
    assert dns.asked == 1


async def test_memory_is_bounded() -> None:
    """Names that a stranger makes up do not pile up."""
    guard = Guard(resolve=Dns([PUBLIC, OTHER]))
    for number in range(5000):
        await admit(guard, f"http://h{number}.test/")
    assert len(guard._admitted) <= 4096


async def test_the_system_resolver_is_the_default() -> None:
    """``localhost`` is looked up on this machine and refused for where it leads."""
    error = await refusal(Guard(), "http://localhost/")
    assert "localhost resolves to a loopback address" in error.message


async def test_a_refusal_reads_as_english() -> None:
    """The article fits the kind of address."""
    for address, words in (("0.0.0.0", "is an unspecified address"), ("10.0.0.1", "is a private address")):
        assert words in (await refusal(Guard(), f"http://{address}/")).message

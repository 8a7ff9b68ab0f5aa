"""What a saved state promises, sentence by sentence."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from enqueued import Client
from serving import Serving
from trainer import Trainer

LENGTH = 13
SOURCE = ("--sequence", "sources.sized:Large", "--arg", "nbytes=100", "--arg", f"length={LENGTH}", "--workers", "2")
SHUFFLED = (*SOURCE, "--shuffle", "--seed", "3")
_groups = (f"g{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def daemon() -> Iterator[Serving]:
    """One daemon for all tests that need no other; each has groups of its own."""
    with Serving(*SHUFFLED) as serving:
        yield serving.ready()


@pytest.fixture(scope="module")
def order(daemon: Serving) -> list[int]:
    """The numbers of three epochs, as they come without a break."""
    with daemon.client() as client:
        found = numbers(client.steps(3 * LENGTH))
    assert found[:LENGTH] != found[LENGTH : 2 * LENGTH] != list(range(LENGTH))
    return found


def numbers(batches: Any) -> list[int]:
    """The number that each batch tells."""
    return [int(number) for _, number in batches]


def together(clients: list[Client], n: int) -> list[int]:
    """What ranks take in `n` steps, in the order of steps."""
    with ThreadPoolExecutor(len(clients)) as pool:
        taken = list(pool.map(lambda client: numbers(client.steps(n)), clients))
    return [number for step in zip(*taken, strict=True) for number in step]


def ranks(daemon: Serving, size: int, **arguments: Any) -> list[Client]:
    """Ranks of a group of their own."""
    group = next(_groups)
    return [daemon.client(group=group, rank=rank, world_size=size, **arguments) for rank in range(size)]


def close(clients: list[Client]) -> None:
    """All of them."""
    for client in clients:
        client.close()


# -- "`client.state_dict()` is small plain data" --------------------------------------------------------------------


def test_a_state_is_small_plain_data(daemon: Serving) -> None:
    """The stream's fingerprint, a position, and no rank."""
    with daemon.client() as client:
        numbers(client.steps(3))
        state = client.state_dict()
    text = json.dumps(state)
    assert json.loads(text) == state
    assert len(text) < 1000
    assert (state["epoch"], state["index"], state["missing"], state["ahead"]) == (0, 3, None, [])
    assert state["fingerprint"] == {
        "kind": "sequence",
        "source": "sources.sized:Large",
        "args": {"nbytes": "100", "length": str(LENGTH)},
        "seed": 3,
        "shuffle": True,
        "length": LENGTH,
    }
    one, two = ranks(daemon, 2)
    together([one, two], 2)
    assert one.state_dict() == two.state_dict() == state | {"index": 4}
    close([one, two])


# -- "Every batch yielded to user code counts as done, none that is merely prefetched" ------------------------------


def test_what_was_yielded_is_done_and_what_is_prefetched_is_not(daemon: Serving, order: list[int]) -> None:
    """After any number of batches, also across the ends of epochs; exactly the rest follows."""
    with daemon.client(prefetch=5) as client, daemon.client() as other:
        for taken, batch in enumerate(client.steps(2 * LENGTH), 1):
            assert int(batch[1]) == order[taken - 1]
            state = client.state_dict()
            assert (state["epoch"], state["index"]) == divmod(taken, LENGTH)
            if taken % 4 == 0:
                other.load_state_dict(json.loads(json.dumps(state)))
                assert numbers(other.steps(LENGTH)) == order[taken : taken + LENGTH]
        with daemon.client(state=state) as late:
            assert late.state_dict() == state
            assert numbers(late) == order[2 * LENGTH :]


# -- "It names no rank: rank 0's file serves all", "with another number of trainers" --------------------------------


@pytest.mark.parametrize(("before", "then"), [(1, 3), (2, 2), (2, 4), (4, 2), (3, 1)])
def test_any_number_of_ranks_goes_on(daemon: Serving, order: list[int], before: int, then: int) -> None:
    """In mid-epoch: what follows is what would have followed, in steps of another size."""
    clients = ranks(daemon, before)
    taken = together(clients, 2)
    state = clients[0].state_dict()
    assert [client.state_dict() for client in clients] == [state] * before
    close(clients)
    assert taken == order[: 2 * before]
    clients = ranks(daemon, then, state=state)
    steps = (LENGTH - len(taken)) // then
    taken += together(clients, steps)
    assert taken == order[: len(taken)]
    assert {(state["epoch"], state["index"]) for state in (one.state_dict() for one in clients)} == {(1, 0)}
    assert together(clients, LENGTH // then) == order[LENGTH : LENGTH + LENGTH // then * then]
    close(clients)


def test_ranks_and_clients_that_see_all_load_each_others_states(daemon: Serving, order: list[int]) -> None:
    """A private client is one rank of one."""
    with daemon.client() as client:
        numbers(client.steps(LENGTH + 2))
        state = client.state_dict()
        clients = ranks(daemon, 2, state=state)
        assert together(clients, 3) == order[LENGTH + 2 : LENGTH + 8]
        client.load_state_dict(clients[1].state_dict())
        assert numbers(client) == order[LENGTH + 8 : 2 * LENGTH]
        close(clients)


def test_all_ranks_load_a_state_together(daemon: Serving, order: list[int]) -> None:
    """They meet again where it stands, as often as it takes."""
    clients = ranks(daemon, 2)
    together(clients, 3)
    state = clients[0].state_dict()
    for _ in range(2):
        assert together(clients, 2) == order[6:10]
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda client: client.load_state_dict(state), clients))
    assert together(clients, 3) == order[6:12]
    close(clients)


# -- "the first one after loading a state gives the rest of its epoch" ----------------------------------------------


@pytest.mark.parametrize("size", [1, 2])
def test_the_first_iteration_gives_the_rest(daemon: Serving, order: list[int], size: int) -> None:
    """The second one a whole epoch."""
    clients = ranks(daemon, size)
    together(clients, 4)
    state = clients[0].state_dict()
    close(clients)
    clients = ranks(daemon, size, state=state)
    with ThreadPoolExecutor(size) as pool:
        taken = list(pool.map(lambda client: [numbers(client), numbers(client)], clients))
    close(clients)
    for rank, mine in enumerate(taken):
        usable = LENGTH // size * size
        assert mine == [order[4 * size + rank : usable : size], order[LENGTH + rank : LENGTH + usable : size]]


def test_a_rest_that_is_empty_is_no_iteration(daemon: Serving, order: list[int]) -> None:
    """Four ranks have no step left where two had: the next epoch comes."""
    clients = ranks(daemon, 2)
    together(clients, 5)
    state = clients[0].state_dict()
    assert (state["epoch"], state["index"]) == (0, 10)
    close(clients)
    clients = ranks(daemon, 4, state=state | {"epochs_done": 1})
    with ThreadPoolExecutor(4) as pool:
        taken = list(pool.map(lambda client: [numbers(epoch) for epoch in client.epochs(4)], clients))
    close(clients)
    assert [[len(epoch) for epoch in mine] for mine in taken] == [[3, 3]] * 4
    assert [mine[0][0] for mine in taken] == order[LENGTH : LENGTH + 4]


# -- "`client.epochs(n)` yields epochs up to a total of n, counted from the state" ----------------------------------


@pytest.mark.parametrize("stop", [0, 1, 5, LENGTH - 1, LENGTH, LENGTH + 1, 2 * LENGTH, 3 * LENGTH])
@pytest.mark.parametrize("way", ["for", "len"])
def test_epochs_are_counted_from_the_state(daemon: Serving, order: list[int], stop: int, way: str) -> None:
    """Wherever in the loop it was saved: what both runs take is what one would have."""
    taken: list[int] = []
    state: dict[str, Any] = {}
    with daemon.client() as client:
        for epoch in client.epochs(3):
            for batch in epoch if way == "for" else itertools.islice(epoch, len(client)):
                if len(taken) == stop:
                    break
                taken.append(int(batch[1]))
                state = client.state_dict()
            else:
                state = client.state_dict()
                continue
            break
        state = state or client.state_dict()
    with daemon.client(state=state if stop else None) as client:
        for epoch in client.epochs(3):
            taken += numbers(epoch)
        assert client.state_dict()["epochs_done"] == 3
        assert taken == order
        assert [len(numbers(epoch)) for epoch in client.epochs(1)] == [LENGTH]


def test_a_loop_that_loads_a_state_goes_on_from_it(daemon: Serving, order: list[int]) -> None:
    """As after a loss that is no number: back to the last checkpoint, and no epoch more or less."""
    with daemon.client() as client:
        saved, taken, spoilt = None, [], True
        for epoch in client.epochs(3):
            for batch in epoch:
                taken.append(int(batch[1]))
                if len(taken) == LENGTH + 4:
                    saved = client.state_dict()
                if len(taken) == LENGTH + 9 and spoilt:
                    assert saved is not None
                    client.load_state_dict(saved)
                    del taken[LENGTH + 4 :]
                    spoilt = False
                    break
        assert taken == order


# -- "`load_state_dict(...)`": "arrays that the trainer holds stay valid" -------------------------------------------


def test_arrays_outlive_a_load() -> None:
    """Those that lie in shared memory, too."""
    source = ("--sequence", "sources.sized:Large", "--workers", "2", "--max-queue-size", "4")
    with Serving(*source) as daemon, daemon.client(prefetch=3) as client:
        kept = list(client.steps(3))
        state = client.state_dict()
        for _ in range(3):
            client.load_state_dict(state)
            more = list(client.steps(10))
            assert numbers(more) == list(range(3, 13))
        assert all((data == int(number) % 251).all() for data, number in [*kept, *more])
        kept[0][0][:] = 7
        assert (more[0][0] == 3).all()


# -- "on the same daemon, on a new one" -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2])
def test_a_new_daemon_gives_the_same(order: list[int], size: int) -> None:
    """Of another life and with other workers, in the midst of an epoch."""
    with Serving(*SHUFFLED) as daemon:
        clients = ranks(daemon, size)
        taken = together(clients, 20 // size)
        state = clients[0].state_dict()
        close(clients)
    with Serving(*SHUFFLED, "--workers", "1", "--max-queue-size", "2") as daemon:
        clients = ranks(daemon, size, state=state)
        taken += together(clients, 4)
        close(clients)
    usable = LENGTH // size * size
    whole = [number for epoch in range(3) for number in order[epoch * LENGTH : epoch * LENGTH + usable]]
    assert taken == whole[: len(taken)]


def test_a_trainer_that_was_killed_goes_on() -> None:
    """From the last checkpoint that it wrote, in another process, to the bit; the daemon goes with it, too."""
    source = ("--sequence", "sources.reproduced:Redrawn", "--workers", "2")
    with Serving(*source) as daemon, daemon.client() as client:
        whole = [float(number) for number in client.steps(30)]
    with Serving(*source) as daemon, Trainer() as trainer:
        trainer(f"client = Client({daemon.endpoint!r})")
        taken = trainer("[float(x) for x in client.steps(9)]")
        state = trainer("client.state_dict()")
        trainer("[float(x) for x in client.steps(5)]")
        trainer.kill()
        daemon.kill()
        daemon.start()
        with Trainer() as again:
            again(f"client = Client({daemon.endpoint!r}, state={state!r})")
            taken += again("[float(x) for x in client.steps(21)]")
    assert taken == whole


# -- "In a split group it asks the daemon and holds at a common barrier only" ---------------------------------------


def test_a_split_group_goes_on_at_its_barrier(daemon: Serving, order: list[int]) -> None:
    """Each position once, whoever took it, with another number of members."""
    group = next(_groups)
    clients = [daemon.client(group=group, prefetch=1) for _ in range(3)]
    taken = [int(next(client.batches()).data[1]) for client in clients for _ in range(2)]
    states = [client.state_dict() for client in clients]
    state = states[-1]
    assert (state["epoch"], state["missing"] is not None) == (0, True)
    close(clients)
    first = daemon.client(group=group, state=state)
    second = daemon.client(group=group)
    with ThreadPoolExecutor(2) as pool:
        rest = list(pool.map(numbers, (first, second)))
    assert sorted(taken + rest[0] + rest[1]) == sorted(order[:LENGTH])
    assert first.state_dict()["epoch"] == 1
    close([first, second])


# -- others ---------------------------------------------------------------------------------------------------------


def test_a_fixed_epoch_is_saved_within_it(daemon: Serving, order: list[int]) -> None:
    """Its end is its beginning."""
    with daemon.client(fixed_epoch=1) as client:
        numbers(client.steps(4))
        state = client.state_dict()
        assert (state["epoch"], state["index"]) == (1, 4)
        assert numbers(client.steps(LENGTH - 4)) == order[LENGTH + 4 : 2 * LENGTH]
        assert (client.state_dict()["epoch"], client.state_dict()["index"]) == (1, 0)
        with daemon.client(fixed_epoch=1, state=state) as again:
            assert numbers(again) == order[LENGTH + 4 : 2 * LENGTH]
            assert numbers(again) == order[LENGTH : 2 * LENGTH]


def test_batches_out_of_order_are_neither_lost_nor_repeated() -> None:
    """With a reorder window, whenever the state is saved."""
    flags = ("--sequence", "sources.sized:Large", "--arg", "nbytes=100", "--arg", "length=40", "--workers", "3")
    with Serving(*flags, "--reorder-window", "4", "--start-method", "zygote") as daemon, daemon.client() as client:
        taken: list[int] = []
        for _ in range(12):
            taken += numbers(client.steps(5))
            client.load_state_dict(client.state_dict())
        assert sorted(taken[:40]) == list(range(40))
        assert len(set(taken[40:])) == 20


def test_an_epoch_that_differs_is_known_at_its_end() -> None:
    """Where epochs grow a state says (2, 0) after the last batch of epoch 1, and not before."""
    with Serving("--sequence", "sources.sized:Growing") as daemon, daemon.client() as client:
        taken = client.steps(12)
        stands = []
        for _ in taken:
            state = client.state_dict()
            stands.append((state["epoch"], state["index"]))
        assert stands == [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (1, 3), (2, 0),
                          (2, 1), (2, 2), (2, 3), (2, 4), (3, 0)]  # fmt: skip

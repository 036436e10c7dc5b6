"""Digests of images, packed so that they travel with a model."""

import hashlib

from anomaly_vae.calibration.seen import among, count, packed


def digests(first: int, last: int) -> list[str]:
    return [hashlib.sha256(bytes([n])).hexdigest() for n in range(first, last)]


def test_what_is_packed_is_known_again_and_nothing_else() -> None:
    pack = packed(digests(0, 100))
    assert count(pack) == 100
    assert among(digests(50, 150), pack) == [True] * 50 + [False] * 50
    assert among(digests(0, 2), packed([]), packed(digests(1, 2))) == [False, True]


def test_copies_and_order_leave_no_trace_and_an_image_takes_11_characters() -> None:
    one = packed(digests(0, 90))
    assert packed([*digests(40, 90), *digests(10, 60)], known=packed(digests(0, 11))) == one
    assert len(one) == 90 * 8 * 4 / 3
    assert packed([]) == ""

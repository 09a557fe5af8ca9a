"""A log in memory, which a test may let tell two stories."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from interlock.tlog import (
    AddCheckpoint,
    Checkpoint,
    Cosigner,
    Ed25519Signer,
    TiledTree,
    Tree,
    consistency_proof,
    format_add_checkpoint,
    grown_tiles,
    leaf_hash,
    sign_checkpoint,
)

NOW = 1_700_000_000


class Log:
    """Grows leaf by leaf; every tree that it ever had can be signed."""

    def __init__(self, origin: str = "example.com/log", seed: int = 1) -> None:
        self.origin = origin
        self.signer = Ed25519Signer(origin, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))
        self.vkey = str(self.signer.key)
        self._tree = Tree()
        self._tiles: dict[tuple[int, int], bytes] = {}

    def grow(self, to: int, story: str = "") -> Log:
        leaves = [leaf_hash(f"{story}{number}".encode()) for number in range(self._tree.size, to)]
        for tile, data in grown_tiles(self._tree.append(leaves), self):
            self._tiles[tile.level, tile.index] = data
        return self

    def read(self, level: int, index: int, width: int) -> bytes:
        return self._tiles[level, index][: 32 * width]

    def checkpoint(self, size: int | None = None) -> bytes:
        tree = TiledTree(self, self._tree.size)
        size = self._tree.size if size is None else size
        return sign_checkpoint(Checkpoint(self.origin, size, tree.root(size)), [self.signer])

    def proof(self, old: int, size: int | None = None) -> tuple[bytes, ...]:
        return tuple(consistency_proof(TiledTree(self, self._tree.size), old, size))

    def request(self, old: int, size: int | None = None) -> bytes:
        return format_add_checkpoint(AddCheckpoint(old, self.proof(old, size), self.checkpoint(size)))


def cosigner(seed: int = 9, name: str = "witness.example.com/w1") -> Cosigner:
    return Cosigner(name, Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32))

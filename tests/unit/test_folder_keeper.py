"""The follower keeps folders of its disk whole: what is missing or changed is fetched again, and failures wait."""

import time
from pathlib import Path
from threading import Event

from mlflow_project.errors import Unavailable
from mlflow_project.follower.folders import FolderKeeper


class Store:
    """Fetches by writing one file, unless it is down."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.fetched, self.down = folder, 0, False

    def fetch(self, name: str) -> None:
        self.fetched += 1
        if self.down:
            raise Unavailable("down")
        (self.folder / name).mkdir(exist_ok=True)
        if not self.is_whole(name):
            (self.folder / name / "data").write_text("right")

    def is_whole(self, name: str) -> bool:
        file = self.folder / name / "data"
        return file.exists() and file.read_text() == "right"


def test_a_missing_or_changed_folder_is_fetched_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keeper = FolderKeeper("model", store.fetch, tmp_path)
    keeper.want(["a"])
    keeper.look()
    keeper.look()
    assert store.is_whole("a")
    count = store.fetched
    keeper.look()
    assert store.fetched == count, "nothing has changed, so nothing is read"
    (tmp_path / "a" / "data").write_text("wrong")
    keeper.look()
    assert store.is_whole("a")
    keeper.want([])
    (tmp_path / "a" / "data").write_text("wrong")
    keeper.look()
    assert not store.is_whole("a"), "nobody needs it any more"


def test_a_store_that_is_down_is_asked_again_after_a_pause(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.down = True
    keeper = FolderKeeper("model", store.fetch, tmp_path)
    keeper.want(["a"])
    keeper.look()
    keeper.look()
    assert store.fetched == 1
    stopped = Event()
    stopped.set()
    keeper.look(stopped)
    assert store.fetched == 1


def test_a_folder_that_nobody_needs_is_deleted_after_a_while_and_those_of_old_snapshots_stay(tmp_path: Path) -> None:
    store = Store(tmp_path)
    keeper = FolderKeeper("model", store.fetch, tmp_path, keep_seconds=0.05)
    names = ["sha256:a", "sha256:b", "sha256:c"]
    for name in names:
        (tmp_path / name.removeprefix("sha256:")).mkdir()
    (tmp_path / ".a.lock").touch()
    keeper.want(["sha256:a"], lambda: ["sha256:b"])
    keeper.delete_removed()
    assert (tmp_path / "c").exists(), "a worker may still be reading it"
    time.sleep(0.06)
    keeper.want(["sha256:a"], lambda: ["sha256:b"])
    keeper.delete_removed()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.lock", "a", "b"]

"""What the program says: results on stdout, warnings, errors and progress on stderr."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from anomaly_vae.progress import Total

_STYLE = re.compile("\x1b\\[[0-9;]*m")
# All control characters but line end and tab. Of what moves the cursor or hides text only the few
# colours of this program are let through, which do neither.
_CONTROL = re.compile(
    "(\x1b\\[(?:0|1|3[1345])m)|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]"
)


class Talk:
    """The one place that prints."""

    def __init__(self) -> None:
        self.quiet = False
        self.verbose = False
        self.debug = False
        self.command = ""
        """What was typed."""
        # Not the stream itself: it may be replaced.
        self.on_stderr = False
        self._log: IO[str] | None = None

    def configure(self, *, quiet: bool, verbose: bool, debug: bool, log_file: Path | None) -> None:
        """Set how much is said, and where else it is written."""
        self.quiet, self.verbose, self.debug, self.on_stderr = quiet, verbose, debug, False
        if log_file:
            from anomaly_vae.errors import OutputError

            try:
                self._log = log_file.open("a", encoding="utf-8", errors="backslashreplace")
            except OSError as error:
                raise OutputError(f"--log-file {log_file}: {error.strerror}") from error

    def say(self, text: str = "") -> None:
        """Print a line of result."""
        self._record(text)
        if not self.quiet:
            self._tell(text)

    def detail(self, text: str) -> None:
        """Print a line that only --verbose asks for."""
        self._record(text)
        if self.verbose:
            self._tell(text)

    def warn(self, text: str) -> None:
        """Print a warning."""
        self._record(f"warning: {text}")
        _print(f"warning: {text}", sys.stderr)

    def error(self, text: str) -> None:
        """Print an error as one line."""
        line = " ".join(f"error: {text}".split())
        self._record(line)
        _print(line, sys.stderr)

    @contextmanager
    def counter(self, description: str, total: "Total") -> Iterator[Callable[[], None]]:
        """Give a function that moves a progress bar on by one."""
        if self.quiet or not sys.stderr.isatty():
            yield lambda: None
            return
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import Progress

        with Progress(console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task(escape(visible(description)), total=None)

            def advance(by: int = 1) -> None:
                known = total() if callable(total) else total
                progress.update(task, advance=by, total=known)

            advance(0)
            yield advance

    def track(self, items: Iterable[Any], description: str, total: "Total") -> Iterator[Any]:
        """Show a progress bar while ``items`` are worked on, if somebody is looking."""
        with self.counter(description, total) as advance:
            for item in items:
                yield item
                advance()

    def close(self) -> None:
        """Close the log file."""
        if self._log:
            self._log.close()
            self._log = None

    def _tell(self, text: str) -> None:
        _print(text, sys.stderr if self.on_stderr else sys.stdout)

    def _record(self, text: str) -> None:
        if self._log:
            self._log.write(_STYLE.sub("", visible(text)) + "\n")
            self._log.flush()


def visible(text: str) -> str:
    r"""Write control characters, which names of files may hold, like ``\x1b``."""
    return _CONTROL.sub(lambda found: found[1] or ascii(found[0])[1:-1], text)


def _print(text: str, stream: IO[str]) -> None:
    """Print on any console: what its code page lacks is shown as an escape."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    shown = visible(text).encode(encoding, "backslashreplace").decode(encoding)
    # Colours only on a terminal; see no-color.org.
    typer.echo(shown, file=stream, color=False if os.environ.get("NO_COLOR") else None)


talk = Talk()

"""Real servers for the tests: Orthanc as the PACS, DCMTK's tools, PostgreSQL, theramap itself.

Each is a context manager that ends its processes whatever happens: the kernel kills them when the
thread that started them ends (so start them in the main thread), and leaving the context waits for their
end. They listen on loopback, on free ports, and write their log to a file in their folder.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import yaml

from app.demo.phantom import PhantomLesion, PhantomSpec, write_phantom
from app.settings import SETTINGS_VARIABLE
from tests.conftest import missing

LOOPBACK = "127.0.0.1"
ORTHANC = "/usr/sbin/Orthanc"
DICOMWEB_PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
STORESCU, STORESCP, ECHOSCU = "/usr/bin/storescu", "/usr/bin/storescp", "/usr/bin/echoscu"
"""Full paths: pynetdicom installs commands of the same names in a virtual environment."""
_NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))

AUTO_ROUTE = """
function OnStableStudy(studyId, tags, metadata)
  RestApiPost('/modalities/map/store', DumpJson({Resources = {studyId}, Asynchronous = true}, true))
end
"""
"""Lua that sends every stable study to the modality ``map``; SendToModality(studyId) sends nothing."""


def require(*programs: str) -> None:
    """Skip the test when a program is not there; in CI fail."""
    for program in programs:
        if not Path(program).exists():
            missing(f"no {program}")


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], object], seconds: float, what: str, every_s: float = 0.1) -> None:
    """Wait until a condition holds.

    Raises
    ------
    TimeoutError
        It did not within the time.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {seconds:g} s")
        time.sleep(every_s)


def port_is_open(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((LOOPBACK, port)) == 0


def echo(port: int, called: str, calling: str = "TESTS") -> bool:
    """Whether an AE answers C-ECHO."""
    from pynetdicom import AE
    from pynetdicom.sop_class import Verification

    node = AE(calling)
    node.acse_timeout = node.dimse_timeout = node.network_timeout = node.connection_timeout = 5
    association = node.associate(LOOPBACK, port, [_context(Verification)], ae_title=called)
    if not association.is_established:
        return False
    status = association.send_c_echo()
    association.release()
    return "Status" in status and status.Status == 0


def _context(sop_class: str) -> Any:
    from pynetdicom import build_context

    return build_context(sop_class)


class _Server:
    """One server process with its folder and its log."""

    name = "server"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.log_file = folder / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self.kill()

    def command(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def ready(self) -> bool:
        raise NotImplementedError

    def start(self, within_s: float = 60) -> None:
        """Start it and wait until it serves."""
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                ["/usr/bin/setpriv", "--pdeathsig", "KILL", *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
                start_new_session=True,
            )

        def serves() -> bool:
            if self.process is None or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended at its start:\n{self.log()[-3000:]}")
            return self.ready()

        wait_until(serves, within_s, f"{self.name} to start")

    def stop(self, within_s: float = 60) -> int | None:
        """Ask it to end and wait for that; its exit status."""
        if self.process is None:
            return None
        self.process.terminate()
        status = self.process.wait(within_s)
        self.process = None
        return status

    def kill(self) -> None:
        """End it and all its descendants at once."""
        if self.process is None:
            return
        family = descendants(self.process.pid)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        self.process.wait(30)
        psutil.wait_procs(family, 30)
        self.process = None

    def log(self) -> str:
        return self.log_file.read_text("utf-8", "replace") if self.log_file.exists() else ""


def descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


# ---- Orthanc -----------------------------------------------------------------------------------


class Orthanc(_Server):
    """Orthanc as the PACS, with DICOMweb and one user.

    Parameters
    ----------
    folder : Path
        Its own folder; what it stores survives a stop and a start.
    modalities : mapping, optional
        Name to (AE title, port): the application entities that it knows. Without it, none.
    lua : str, optional
        A script, such as :data:`AUTO_ROUTE`.
    stable_age_s : int
        How long a study is quiet before Orthanc calls it stable.
    settings : mapping, optional
        Orthanc's own settings in place of those here.
    """

    name = "orthanc"
    ae_title = "PACS"
    user, password = "theramap", "loopback-only"

    def __init__(
        self,
        folder: Path,
        modalities: Mapping[str, tuple[str, int]] | None = None,
        lua: str | None = None,
        stable_age_s: int = 1,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        require(ORTHANC, DICOMWEB_PLUGIN)
        super().__init__(folder)
        self.dicom_port, self.http_port = free_port(), free_port()
        self.http_url = f"http://{LOOPBACK}:{self.http_port}"
        self.dicomweb_url = f"{self.http_url}/dicom-web"
        self.password_file = folder / "password"
        self.password_file.write_text(self.password)
        self._settings = folder / "orthanc.json"
        scripts = []
        if lua is not None:
            (folder / "route.lua").write_text(lua)
            scripts.append(str(folder / "route.lua"))
        content = {
            "Name": self.ae_title,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"),
            "HttpBindAddresses": [LOOPBACK],
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {self.user: self.password},
            "DicomAet": self.ae_title,
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": True,
            "DicomAlwaysAllowFind": False,
            "DicomAlwaysAllowGet": False,
            "DicomAlwaysAllowMove": False,
            "StableAge": stable_age_s,
            "OverwriteInstances": False,
            "UnknownSopClassAccepted": True,
            "MaximumPduLength": 131072,
            "DicomModalities": {
                name: _modality(title, port) for name, (title, port) in (modalities or {}).items()
            },
            "Plugins": [DICOMWEB_PLUGIN],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "LuaScripts": scripts,
            **(settings or {}),
        }
        self._settings.write_text(json.dumps(content, indent=2))

    def remote(self, **more: Any) -> dict[str, Any]:
        """This PACS as the remote ``pacs`` of theramap's settings."""
        own = {"name": "pacs", "ae_title": self.ae_title, "host": LOOPBACK, "port": self.dicom_port}
        return {**own, **more}

    def command(self) -> list[str]:
        return [ORTHANC, str(self._settings)]

    def ready(self) -> bool:
        if not port_is_open(self.http_port):
            return False
        try:
            self.get("/system")
        except OSError:
            return False
        return port_is_open(self.dicom_port)

    def get(self, path: str) -> Any:
        """Answer of the REST API; JSON decoded."""
        return self._ask("GET", path, None)

    def post(self, path: str, content: object = None) -> Any:
        return self._ask("POST", path, content)

    def studies(self) -> list[str]:
        """Study Instance UIDs that it has."""
        return sorted(one["MainDicomTags"]["StudyInstanceUID"] for one in self.get("/studies?expand"))

    def instances(self, **tags: str) -> list[dict[str, Any]]:
        """QIDO-RS for instances by attributes, such as ``StudyInstanceUID=...``; DICOM JSON."""
        fields = {"limit": "10000", "includefield": "all", **tags}
        found: list[dict[str, Any]] = self.get(f"/dicom-web/instances?{urllib.parse.urlencode(fields)}")
        return found

    def sop_instance_uids(self, study_instance_uid: str, modality: str | None = None) -> set[str]:
        """SOP Instance UIDs of a study by QIDO-RS, of one modality when it is given."""
        tags = {"StudyInstanceUID": study_instance_uid} | ({"Modality": modality} if modality else {})
        return {one["00080018"]["Value"][0] for one in self.instances(**tags)}

    def file(self, sop_instance_uid: str) -> bytes:
        """Bytes of one instance, as Orthanc gives it out."""
        (found,) = self.post("/tools/lookup", sop_instance_uid)
        content: bytes = self._ask("GET", found["Path"] + "/file", None, decode=False)
        return content

    def delete(self, path: str) -> None:
        self._ask("DELETE", path, None)

    def run_lua(self, script: str) -> str:
        """What a script prints; Orthanc's setting ``ExecuteLuaEnabled`` must be true."""
        printed: bytes = self._ask("POST", "/tools/execute-script", script, decode=False)
        return printed.decode()

    def lookup(self, uid: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.post("/tools/lookup", uid)
        return found

    def _ask(self, method: str, path: str, content: object, decode: bool = True) -> Any:
        data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        request = urllib.request.Request(
            self.http_url + path, data=None if content is None and method == "GET" else data, method=method
        )
        token = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
        if "/dicom-web/" in path:
            request.add_header("Accept", "application/dicom+json")
        with _NO_PROXY.open(request, timeout=60) as answer:
            body = answer.read()
        return json.loads(body or b"null") if decode else body


def _modality(title: str, port: int) -> dict[str, Any]:
    return {
        "AET": title,
        "Host": LOOPBACK,
        "Port": port,
        "AllowEcho": True,
        "AllowStore": True,
        "AllowFind": True,
        "AllowMove": True,
        "AllowGet": True,
        "AllowStorageCommitment": True,
    }


# ---- DCMTK -------------------------------------------------------------------------------------


class StoreScp(_Server):
    """DCMTK's storescp: writes what it receives to ``folder/received``."""

    name = "storescp"

    def __init__(
        self, folder: Path, port: int | None = None, called: str = "STORESCP", extra: Sequence[str] = ()
    ) -> None:
        require(STORESCP)
        super().__init__(folder)
        self.dicom_port, self.ae_title, self._extra = port or free_port(), called, tuple(extra)
        self.received = folder / "received"
        self.received.mkdir(exist_ok=True)

    def command(self) -> list[str]:
        options = ["-aet", self.ae_title, "-od", str(self.received), "+xa", "-pm", "+uf"]
        return [STORESCP, *options, *self._extra, str(self.dicom_port)]

    def ready(self) -> bool:
        return port_is_open(self.dicom_port)


def storescp(
    folder: Path, port: int | None = None, called: str = "STORESCP", extra: Sequence[str] = ()
) -> StoreScp:
    """Return DCMTK's storescp as a context."""
    return StoreScp(folder, port, called, extra)


def storescu(
    files: Path | Iterable[Path],
    port: int,
    called: str = "THERAMAP",
    calling: str = "STORESCU",
    extra: Sequence[str] = (),
    timeout_s: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Send files, or all files of a folder, with DCMTK's storescu.

    Its exit status is 0 only when the association was well; with ``extra=("-v",)`` its output has one
    ``Received Store Response (Success)`` a file.
    """
    require(STORESCU)
    given = [files] if isinstance(files, Path) else list(files)
    options = ["-aec", called, "-aet", calling, "-pdu", "131072", "-R", *extra]
    if any(path.is_dir() for path in given):
        options += ["+sd", "+r"]
    return subprocess.run(
        [STORESCU, *options, LOOPBACK, str(port), *map(str, given)],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


# ---- PostgreSQL --------------------------------------------------------------------------------


class Postgres(_Server):
    """A PostgreSQL cluster of its own; ``url`` is what ``gateway.database`` takes."""

    name = "postgres"

    def __init__(self, folder: Path) -> None:
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        if not programs:
            missing("no initdb of PostgreSQL")
        super().__init__(folder)
        self._bin = programs[-1].parent
        self.port = free_port()
        self.url = f"postgresql+psycopg://theramap@{LOOPBACK}:{self.port}/theramap"
        self._cluster = folder / "cluster"
        self._prefix: list[str] = []
        if os.geteuid() == 0:  # it refuses to run as root
            user = "postgres" if _has_user("postgres") else "nobody"
            self._prefix = ["/usr/bin/setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
            self._prefix = [*self._prefix, "--pdeathsig", "KILL"]
            if user == "nobody":
                self._prefix[2] = "--regid=nogroup"
            self._cluster.mkdir(exist_ok=True)
            shutil.chown(self._cluster, user, user if user == "postgres" else "nogroup")
            _let_others_enter(self._cluster)
        if not (self._cluster / "PG_VERSION").exists():
            self._run("initdb", "-D", str(self._cluster), "-U", "theramap", "-A", "trust", "-E", "UTF8")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [*self._prefix, str(self._bin / program), *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd="/",
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8"},
        )
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr[-2000:]}")

    def command(self) -> list[str]:
        options = ["-c", f"listen_addresses={LOOPBACK}", "-c", f"port={self.port}"]
        options += ["-c", f"unix_socket_directories={self._cluster}", "-c", "max_connections=200"]
        return [*self._prefix, str(self._bin / "postgres"), "-D", str(self._cluster), *options]

    def ready(self) -> bool:
        import psycopg

        try:
            with psycopg.connect(
                host=LOOPBACK, port=self.port, user="theramap", dbname="postgres", autocommit=True
            ) as connection:
                known = connection.execute("select 1 from pg_database where datname = 'theramap'").fetchone()
                if known is None:
                    connection.execute("create database theramap")
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, within_s: float = 60) -> int | None:
        if self.process is not None:
            self.process.send_signal(signal.SIGINT)  # fast shutdown: does not wait for clients
        return super().stop(within_s)


def _has_user(name: str) -> bool:
    import pwd

    return any(entry.pw_name == name for entry in pwd.getpwall())


def _let_others_enter(folder: Path) -> None:
    """Let another user reach a folder through the private folders that pytest makes."""
    for parent in folder.parents:
        mode = parent.stat().st_mode
        if not mode & 0o001:
            parent.chmod(mode | 0o001)


# ---- theramap ----------------------------------------------------------------------------------


class Theramap(_Server):
    """``theramap serve`` or one of its roles, as a process group of its own.

    Parameters
    ----------
    folder : Path
        Its settings, log and, unless the settings say otherwise, its data lie here.
    settings : mapping, optional
        The whole settings (``{"gateway": {...}}``). What is not there and would collide is filled in:
        ``gateway.data``, the ports of receiver and console, loopback as their address.
    role : str
        Command of ``theramap``.
    """

    name = "theramap"

    def __init__(self, folder: Path, settings: Mapping[str, Any] | None = None, role: str = "serve") -> None:
        self.name = f"theramap-{role}"
        super().__init__(folder)
        self.role = role
        content: dict[str, Any] = json.loads(json.dumps(settings or {}, default=str))
        gateway = content.setdefault("gateway", {})
        self.data = Path(gateway.setdefault("data", str(folder / "data")))
        receiver = gateway.setdefault("receiver", {})
        receiver.setdefault("host", LOOPBACK)
        receiver.setdefault("keep_free_mib", 0)
        self.port = int(receiver.setdefault("port", free_port()))
        self.console_port = int(gateway.setdefault("console", {}).setdefault("port", free_port()))
        first = next(iter(gateway.get("ae_titles", ())), {})
        self.ae_title = str(first.get("title", "THERAMAP"))
        self._caller = next(iter(first.get("allow", {}).get("ae_titles", ())), "TESTS")
        self._encrypted = bool(receiver.get("tls"))
        self.settings = content
        self.settings_file = folder / f"{self.name}.yaml"
        self.settings_file.write_text(yaml.safe_dump(content, sort_keys=False))

    def command(self) -> list[str]:
        return [sys.executable, "-m", "app.cli", self.role, "--settings", str(self.settings_file)]

    def environment(self) -> dict[str, str]:
        root = str(Path(__file__).resolve().parents[1])
        return {**os.environ, "PYTHONPATH": root, SETTINGS_VARIABLE: str(self.settings_file)}

    def ready(self) -> bool:
        if self.role not in {"serve", "receive"}:
            return True
        if not port_is_open(self.port):
            return False
        return self._encrypted or echo(self.port, self.ae_title, self._caller)

    def ledger(self) -> Any:
        """The ledger of its database, to look into."""
        from app.jobs.database import open_ledger, prepare_database
        from app.settings import Settings

        url = Settings.model_validate(self.settings).gateway.database_url
        prepare_database(url)
        return open_ledger(url)

    def log_events(self, event: str | None = None) -> list[dict[str, Any]]:
        """Lines of its log as JSON; those of one event when it is named."""
        return [line for line in _json_lines(self.log_file) if event is None or line.get("event") == event]

    def pids_by_role(self) -> dict[str, list[int]]:
        """Process numbers of every role that runs now."""
        if self.process is None:
            return {}
        head = "supervisor" if self.role == "serve" else self.role
        found: dict[str, list[int]] = {head: [self.process.pid]}
        for process in descendants(self.process.pid):
            with contextlib.suppress(psutil.Error):
                role = role_of(process.cmdline())
                if role is not None:
                    found.setdefault(role, []).append(process.pid)
        return found


def role_of(command: Sequence[str]) -> str | None:
    """Return which role of theramap a command line runs."""
    for word in command:
        last = word.rpartition(".")[2] if word.startswith("app.") else word
        if last in {"acceptor", "keeper", "stow", "child", "receive", "work", "deliver", "console"}:
            return last
    return None


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        for line in path.read_text("utf-8", "replace").splitlines():
            with contextlib.suppress(ValueError):
                content = json.loads(line)
                if isinstance(content, dict):
                    yield content


# ---- studies -----------------------------------------------------------------------------------


def quick_ae(**more: Any) -> dict[str, Any]:
    """Return theramap's AE title for settings, with a study complete soon and results for ``pacs``."""
    own = {"title": "THERAMAP", "quiet_s": 1, "quiet_complete_s": 0.5, "destinations": ["pacs"]}
    return {**own, **more}


def phantom_study(folder: Path, seed: int, slices: int = 8, patient_id: str | None = None) -> Path:
    """Write the smallest phantom that the MAP finds a lesion in: ``slices`` PET and as many CT instances."""
    spec = PhantomSpec(
        shape=(slices, 24, 24),
        spacing_mm=(8.0, 8.0, 8.0),
        lesions=(PhantomLesion((0.0, 0.0, 0.0), 12.0 + seed % 5, 8.0 + seed % 7),),
        organs=False,
        seed=seed,
        ct_shape=(slices, 24, 24),
        ct_spacing_mm=(8.0, 8.0, 8.0),
        patient_id=patient_id or f"PHANTOM-{seed}",
    )
    write_phantom(folder, spec)
    return folder

"""The library as a file: exports, soname, header, installation, samples, documentation."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import abi
import pytest
from conftest import (
    BINDING,
    HEADERS,
    LANGUAGES,
    PROGRAMS,
    ROOT,
    SANITIZERS,
    TARGET,
    WARNINGS,
    compile_program,
    run,
    tool,
)

from support.emulator import Emulator, Kind

LIBRARY = TARGET / "libpgentra.so"
HEADER = (HEADERS / "pgentra.h").read_text()
EXAMPLES = ROOT / "examples" / "c"


def declared() -> dict[str, tuple[str, str]]:
    """Returns the comment and the declaration of every function of the header."""
    found = re.findall(
        r"/\*\*(.*?)\*/\n([^/#{}]*?\b(pgentra_\w+)\([^;]*\);)", HEADER.partition('extern "C" {')[2], re.S
    )
    assert len(found) > 40
    return {name: (comment, declaration) for comment, declaration, name in found}


def test_library_exports_what_the_header_declares() -> None:
    symbols = [line.split()[-1] for line in run(tool("nm"), "-D", "--defined-only", LIBRARY).splitlines()]
    assert sorted(symbols) == sorted(declared())


def test_library_soname_and_nodelete() -> None:
    output = run(tool("readelf"), "-d", LIBRARY)
    abi = re.search(r"#define PGENTRA_ABI_VERSION (\d+)", HEADER)
    assert abi is not None and f"[libpgentra.so.{abi[1]}]" in output
    assert "NODELETE" in output


def test_header_version_macros(tmp_path: Path) -> None:
    """The macros can be used in `#if` and agree with the library."""
    source = tmp_path / "version.c"
    source.write_text(
        "#include <pgentra.h>\n#include <stdio.h>\n"
        "#if PGENTRA_VERSION_NUMBER < 1000 || PGENTRA_VERSION_MAJOR > 100\n#error too old\n#endif\n"
        'int main(void) { return printf("%s %s %d.%d.%d", PGENTRA_VERSION, pgentra_version(), PGENTRA_VERSION_MAJOR, '
        "PGENTRA_VERSION_MINOR, PGENTRA_VERSION_PATCH) < 0; }\n"
    )
    assert len(set(run(compile_program(source, tmp_path / "version")).split())) == 1


def test_header_rules_of_every_function() -> None:
    for name, (comment, _) in declared().items():
        for rule in ("@ownership ", "@threads ", "@errors "):
            assert rule in comment, name


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installs the library and returns the prefix."""
    destination = tmp_path_factory.mktemp("install")
    profile = f"PROFILE={os.environ.get('PROFILE', 'dev')}"
    run(tool("make"), "-C", ROOT, "install", profile, "PREFIX=/opt/pgentra", f"DESTDIR={destination}")
    return destination / "opt" / "pgentra"


def flags(installed: Path, *options: str) -> list[str]:
    """Returns the flags of pkg-config."""
    variables = {**os.environ, "PKG_CONFIG_PATH": str(installed / "lib" / "pkgconfig")}
    return run(tool("pkg-config"), f"--define-variable=prefix={installed}", *options, environment=variables).split()


def test_install_separate_debug_file(installed: Path) -> None:
    library = installed / "lib" / "libpgentra.so.1"
    assert ".symtab" not in run(tool("readelf"), "-S", library)
    if ".symtab" in run(tool("readelf"), "-S", LIBRARY):
        assert ".symtab" in run(tool("readelf"), "-S", f"{library}.debug")
    assert "libpgentra.so.1.debug" in run(tool("readelf"), "-p", ".gnu_debuglink", library)
    assert (installed / "lib" / "libpgentra.so").readlink() == Path("libpgentra.so.1")


@pytest.mark.parametrize("language", LANGUAGES)
def test_pkg_config_shared_library(language: str, installed: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    words: list[str | Path] = [
        *LANGUAGES[language],
        *WARNINGS,
        PROGRAMS / "rules.c",
        "-o",
        program,
        "-x",
        "none",
        "-lpthread",
    ]
    run(*words, *flags(installed, "--cflags", "--libs", "pgentra"), f"-Wl,-rpath,{installed}/lib")
    run(program)


@pytest.mark.parametrize("area", ["async", "sync"])
def test_static_library_documented_flags(area: str, installed: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    (documented,) = re.findall(r"libpgentra\.a ((?:-l\w+ ?)+)", (ROOT / "docs" / "c.md").read_text())
    found = flags(installed, "--static", "--libs", "pgentra")
    assert [flag for flag in found if flag.startswith("-l") and flag != "-lpgentra"] == documented.split()
    archive = installed / "lib" / "libpgentra.a"
    words: list[str | Path] = [
        *LANGUAGES["C99"],
        *WARNINGS,
        f"-I{installed}/include",
        PROGRAMS / f"{area}.c",
        "-o",
        program,
    ]
    run(*words, archive, *documented.split())
    assert "libpgentra" not in run(tool("readelf"), "-d", program)
    run(program)


def test_static_library_exports_only_the_header(installed: Path) -> None:
    symbols = run(tool("nm"), "--defined-only", "--extern-only", installed / "lib" / "libpgentra.a").splitlines()
    assert sorted(line.split()[-1] for line in symbols if len(line.split()) == 3) == sorted(declared())


def test_static_program_by_pkg_config(installed: Path, tmp_path: Path) -> None:
    """`cc -static`: the program needs no shared library at all, and logs in."""
    program = tmp_path / "program"
    words: list[str | Path] = [*LANGUAGES["C99"], "-static", PROGRAMS / "sync.c", "-o", program, "-x", "none"]
    run(*words, *flags(installed, "--static", "--cflags", "--libs", "pgentra"))
    assert "NEEDED" not in run(tool("readelf"), "-d", program)
    run(program)


RUST = """
#[unsafe(no_mangle)]
pub extern "C" fn other_rust_library(text: *const std::ffi::c_char) -> usize {
    // SAFETY: the program passes a C string.
    let text = unsafe { std::ffi::CStr::from_ptr(text) };
    std::panic::catch_unwind(|| text.to_string_lossy().parse::<usize>().unwrap()).unwrap_or(7)
}
"""

WITH_RUST = """
#include "check.h"
#ifdef __cplusplus
extern "C"
#endif
    size_t other_rust_library(const char *text);

int main(void) {
  pgentra_error *error = NULL;
  pgentra_provider *provider = NULL;
  const char *token = NULL;
  CHECK(other_rust_library("42") == 42 && other_rust_library("no number") == 7);
  OK(pgentra_provider_open(STATIC_CONFIG, &provider, &error));
  OK(pgentra_provider_get(provider, -1, &token, NULL, &error));
  CHECK(strcmp(token, TOKEN) == 0);
  pgentra_string_free(token);
  pgentra_provider_close(provider);
  return finish();
}
"""


@pytest.mark.parametrize("first", ["pgentra", "other"])
def test_static_library_beside_another_one_made_with_rust(first: str, installed: Path, tmp_path: Path) -> None:
    (tmp_path / "other.rs").write_text(RUST)
    (tmp_path / "program.c").write_text(WITH_RUST)
    other, program = tmp_path / "libother.a", tmp_path / "program"
    run(tool("rustc"), "--edition", "2024", "--crate-type", "staticlib", tmp_path / "other.rs", "-o", other)
    archives = [installed / "lib" / "libpgentra.a", other]
    words: list[str | Path] = [*LANGUAGES["C99"], *WARNINGS, f"-I{PROGRAMS}", tmp_path / "program.c", "-o", program]
    words += flags(installed, "--cflags", "pgentra")
    words += archives if first == "pgentra" else archives[::-1]
    run(*words, *[flag for flag in flags(installed, "--static", "--libs-only-l", "pgentra") if flag != "-lpgentra"])
    run(program)


@pytest.mark.parametrize("libdir", ["/opt/pgentra/lib/x86_64-linux-gnu", "/opt/elsewhere/lib64"])
def test_install_with_libdir(libdir: str, tmp_path: Path) -> None:
    """Multiarch below the prefix, which can be moved, and a directory elsewhere."""
    script = BINDING / "install" / "install.sh"
    run("sh", script, TARGET, "/opt/pgentra", tmp_path, environment={**os.environ, "LIBDIR": libdir})
    libraries = tmp_path / libdir[1:]
    assert (libraries / "libpgentra.so.1").is_file() and not (tmp_path / "opt/pgentra/lib/libpgentra.a").exists()
    variables = {**os.environ, "PKG_CONFIG_PATH": str(libraries / "pkgconfig")}
    assert f"-L{libdir}" in run(tool("pkg-config"), "--libs", "pgentra", environment=variables)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(program C)\nfind_package(pgentra REQUIRED)\n"
        "get_target_property(location pgentra::pgentra IMPORTED_LOCATION)\n"
        "get_target_property(headers pgentra::pgentra INTERFACE_INCLUDE_DIRECTORIES)\n"
        'message(STATUS "found: ${location} ${headers}")\n'
    )
    output = run(tool("cmake"), "-S", tmp_path, "-B", tmp_path / "build", f"-Dpgentra_DIR={libraries}/cmake/pgentra")
    # A directory outside the prefix is absolute.
    root = tmp_path if libdir.startswith("/opt/pgentra/") else ""
    assert f"found: {root}{libdir}/libpgentra.so.1 {root}/opt/pgentra/include" in output


@pytest.mark.parametrize("target", ["pgentra", "static"])
def test_cmake_package(target: str, installed: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\n"
        "project(program C)\n"
        f"find_package(pgentra {'0.1 ' if target == 'static' else ''}REQUIRED)\n"
        "find_package(Threads REQUIRED)\n"
        f'add_executable(program "{PROGRAMS / "rules.c"}")\n'
        "target_compile_definitions(program PRIVATE _XOPEN_SOURCE=700)\n"
        f"target_link_libraries(program PRIVATE pgentra::{target} Threads::Threads)\n"
    )
    run(tool("cmake"), "-S", tmp_path, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={installed}")
    run("cmake", "--build", tmp_path / "build")
    run(tmp_path / "build" / "program")


@pytest.mark.parametrize(
    ("version", "wanted", "found"),
    [
        ("0.1.0", "0.1", True),
        ("0.1.0", "0.1.0", True),
        ("0.2.0", "0.1", True),
        ("0.1.0", "0.2", False),
        ("1.0.0", "0.1", False),
        ("2.3.0", "2.1", True),
    ],
)
def test_cmake_accepted_versions(version: str, wanted: str, found: bool, installed: Path, tmp_path: Path) -> None:
    script = tmp_path / "pgentra-config-version.cmake"
    text = (installed / "lib" / "cmake" / "pgentra" / script.name).read_text()
    script.write_text(re.sub(r'(PACKAGE_VERSION )"[^"]*"', rf'\1"{version}"', text))
    find = tmp_path / "find.cmake"
    find.write_text(
        f'set(PACKAGE_FIND_VERSION "{wanted}")\nset(PACKAGE_FIND_VERSION_MAJOR {wanted.partition(".")[0]})\n'
        f'include("{script}")\nmessage("accepted: ${{PACKAGE_VERSION_COMPATIBLE}}")\n'
    )
    assert f"accepted: {str(found).upper()}" in run(tool("cmake"), "-P", find)


def libpq() -> list[str]:
    """Returns the flags for libpq. Skips the test without it."""
    found = subprocess.run([tool("pkg-config"), "--cflags", "--libs", "libpq"], capture_output=True, text=True)
    if found.returncode:
        pytest.skip("no headers of libpq on this machine (libpq-dev)")
    return found.stdout.split()


SAMPLES = {"libpq.c": "sync", "async.c": "async", "custom_credential.c": "custom", "cplusplus.cpp": "cplusplus"}


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples_log_in(sample: str, emulator: Emulator, tmp_path: Path) -> None:
    """Runs each sample unchanged with a real PostgreSQL: verified TLS, the role of the token."""
    with_libpq = libpq()
    emulator.reset()
    minted = tmp_path / "token"
    minted.write_text(emulator.mint("app-mi").token)
    language = "C++17" if sample.endswith(".cpp") else "C99"
    program = compile_program(EXAMPLES / sample, tmp_path / "sample", language, "-D_XOPEN_SOURCE=700", *with_libpq)
    environment = emulator.environment() | {
        "PGHOST": emulator.server.host,
        "PGPORT": str(emulator.server.port),
        "PGDATABASE": emulator.server.database,
        "TOKEN_COMMAND": f"cat {minted}",
    }
    if sample.startswith("custom"):
        # Its token contains no role name.
        environment["PGUSER"] = "app-mi"
    output = run(program, environment=environment)
    assert re.fullmatch(rf"{SAMPLES[sample]}: logged in as app-mi after \d+ ms\n", output)
    assert emulator.postgres_report().plaintext_password_bytes == 0


def test_libpq_sample_explains_login_errors_only(emulator: Emulator, tmp_path: Path) -> None:
    emulator.reset()
    program = compile_program(EXAMPLES / "libpq.c", tmp_path / "sample", "C99", "-D_XOPEN_SOURCE=700", *libpq())
    environment = emulator.environment() | {"PGHOST": "localhost", "PGDATABASE": "postgres", "PGUSER": "no_such_role"}
    for port, explained in ((emulator.server.port, True), (1, False)):
        done = subprocess.run(
            [program], env=environment | {"PGPORT": str(port)}, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 1
        assert done.stderr.startswith("sync: connection to server")
        lines = "Role tried: 'no_such_role' (from the environment variable PGUSER).\nToken of: "
        assert (lines in done.stderr) == explained


@pytest.mark.parametrize("language", LANGUAGES)
def test_libpq_helper(language: str, emulator: Emulator, tmp_path: Path) -> None:
    """A retry with a newer token, the explanation of a login error, warnings, and errors without an attempt."""
    emulator.reset()
    source = PROGRAMS / "with_emulator" / "libpq_helper.c"
    program = compile_program(source, tmp_path / "helper", language, *SANITIZERS, *libpq())
    place = emulator.server
    conninfo = f"host={place.host} port={place.port} dbname={place.database} sslmode=verify-full"
    tokens = [emulator.mint("app-mi", audience="https://vault.azure.net").token, emulator.mint("app-mi").token]
    run(program, conninfo, *tokens, environment=emulator.environment())
    assert emulator.postgres_report().plaintext_password_bytes == 0


@pytest.fixture(scope="session")
def libpq_sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    to = tmp_path_factory.mktemp("libpq") / "sample"
    return compile_program(EXAMPLES / "libpq.c", to, "C99", "-D_XOPEN_SOURCE=700", *libpq())


def run_sample(program: Path, *arguments: str, environment: dict[str, str]) -> tuple[int, str, str]:
    """Returns status, standard output and standard error."""
    done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


#: An address of this machine that does not count as local.
NOT_LOOPBACK = "0.0.0.0"


@pytest.mark.parametrize("sslmode", ["", "sslmode=prefer", "sslmode=require", "sslmode=verify-full", "sslmode=disable"])
def test_libpq_sample_without_tls(sslmode: str, emulator: Emulator, libpq_sample: Path) -> None:
    emulator.reset()
    emulator.control_postgres(plaintext=True)
    place = f"port={emulator.server.port} dbname={emulator.server.database} {sslmode}"
    status, _, errors = run_sample(libpq_sample, f"host={NOT_LOOPBACK} {place}", environment=emulator.environment())
    assert status == 1 and ("does not support SSL" in errors or "TLS is switched off" in errors), errors
    # A list with one remote host counts as remote.
    hosts = f"host=localhost,{NOT_LOOPBACK} port=1,{emulator.server.port} dbname=postgres {sslmode}"
    assert run_sample(libpq_sample, hosts, environment=emulator.environment())[0] == 1
    assert emulator.postgres_report().plaintext_password_bytes == 0
    if not sslmode:
        # The test can fail: a token is sent to a local server without TLS.
        assert run_sample(libpq_sample, f"host=localhost {place}", environment=emulator.environment())[0] == 0
        assert emulator.postgres_report().plaintext_password_bytes > 500
    emulator.reset()


def test_libpq_sample_with_a_password(emulator: Emulator, libpq_sample: Path) -> None:
    emulator.reset()
    token = emulator.mint("app-mi").token
    place = f"host=localhost port={emulator.server.port} dbname=postgres"
    status, output, errors = run_sample(
        libpq_sample, f"{place} user=app-mi password={token}", environment=emulator.environment()
    )
    assert status == 0 and output.startswith("sync: logged in as app-mi after ")
    assert "Entra is not used" in errors and token not in errors
    assert emulator.requests() == []


@pytest.fixture
def default_identity(emulator: Emulator) -> Iterator[Callable[[str], None]]:
    """Returns a function that sets the default identity of App Service."""
    before = emulator.call("GET", "/config")["app_service"]
    yield lambda name: emulator.call("PUT", "/config", {"app_service": {**before, "default": name}})
    emulator.call("PUT", "/config", {"app_service": before})


IDENTITIES: dict[str, Kind] = {
    "system-assigned": "system_assigned",
    "user-assigned": "user_assigned",
    "service-principal": "service_principal",
}


@pytest.mark.parametrize("driver", ["libpq", "libpq, client type none"])
@pytest.mark.parametrize("identity", IDENTITIES)
def test_libpq_sample_with_service_connector(
    identity: str,
    driver: str,
    emulator: Emulator,
    libpq_sample: Path,
    default_identity: Callable[[str], None],
    record_property: Callable[[str, object], None],
) -> None:
    """Logs in with the role of the variable, which differs from the identity's name."""
    emulator.reset()
    name = f"c-{identity}-{len(driver)}-{os.getpid()}"
    role = f"aad_{name}"
    principal = emulator.add_principal(IDENTITIES[identity], name, role=role)
    place = emulator.server
    separate = {
        "HOST": place.host,
        "PORT": str(place.port),
        "DATABASE": place.database,
        "USERNAME": role,
        "SSL": "true",
    }
    # The forms of the client types php, none and dotnet.
    variables = {
        "system-assigned": {
            "CONNECTIONSTRING": f"host={place.host} port={place.port} dbname={place.database} sslmode=require "
            f"user={role}"
        },
        "user-assigned": {**separate, "CLIENTID": principal.appid},
        "service-principal": {
            "CONNECTIONSTRING": f"Server={place.host};Database={place.database};Port={place.port};Ssl Mode=Require;"
            f"User Id={role};",
            "CLIENTID": principal.appid,
            "CLIENTSECRET": principal.secret or "",
            "TENANTID": emulator.tenant_id,
        },
    }[identity]
    if driver != "libpq":
        settings = ("CLIENTID", "CLIENTSECRET", "TENANTID")
        variables = separate | {key: variables[key] for key in settings if key in variables}
    if identity == "system-assigned":
        default_identity(name)
    # The emulator replaces Entra.
    environment = emulator.environment() | {"AZURE_AUTHORITY_HOST": emulator.authority_host}
    environment |= {f"AZURE_POSTGRESQL_{key}": value for key, value in variables.items()}
    status, output, errors = run_sample(libpq_sample, "--service-connector", environment=environment)
    assert (status, errors) == (0, "")
    assert re.fullmatch(rf"sync: logged in as {role} after \d+ ms\n", output)
    assert [login.tls for login in emulator.postgres_report().logins] == [True]
    record_property("connector", f"{identity} / {driver} / C")


def test_libpq_sample_unused_variables(emulator: Emulator, libpq_sample: Path) -> None:
    emulator.reset()
    place = emulator.server
    environment = emulator.environment() | {
        "AZURE_POSTGRESQL_CONNECTIONSTRING": f"host={place.host} dbname={place.database} user=aad_shop",
        "AZURE_POSTGRESQL_CLIENTID": "11111111-0000-0000-0000-000000000001",
    }
    conninfo = f"host={place.host} port={place.port} dbname={place.database} user=no_such_role"
    status, _, errors = run_sample(libpq_sample, conninfo, environment=environment)
    assert status == 1
    assert "AZURE_POSTGRESQL_CONNECTIONSTRING, AZURE_POSTGRESQL_CLIENTID" in errors
    # Service Connector has created a role, so that no other role is proposed.
    assert "pgaadauth_create_principal" not in errors


#: "```c" is the body of a function, "```c file" a whole file.
BLOCK = re.compile(r"^```c( file)?\n(.*?)^```$", re.DOTALL | re.MULTILINE)

#: What libpq-fe.h has from version 18 on.
LIBPQ_18 = """
#ifndef LIBPQ_HAS_PROMPT_OAUTH_DEVICE
typedef enum { PQAUTHDATA_PROMPT_OAUTH_DEVICE, PQAUTHDATA_OAUTH_BEARER_TOKEN } PGauthData;
typedef struct PGoauthBearerRequest {
  const char *openid_configuration, *scope;
  int (*async)(PGconn *, struct PGoauthBearerRequest *, int *);
  void (*cleanup)(PGconn *, struct PGoauthBearerRequest *);
  char *token;
  void *user;
} PGoauthBearerRequest;
typedef int (*PQauthDataHook_type)(PGauthData, PGconn *, void *);
void PQsetAuthDataHook(PQauthDataHook_type hook);
PQauthDataHook_type PQgetAuthDataHook(void);
#endif
"""


DOCUMENTS = {
    str(path.relative_to(ROOT)): BLOCK.findall(path.read_text())
    for path in (ROOT / "README.md", BINDING / "README.md", *sorted((ROOT / "docs").glob("*.md")))
}


@pytest.mark.parametrize("document", [name for name, blocks in DOCUMENTS.items() if blocks])
def test_documentation_c_blocks(document: str, tmp_path: Path) -> None:
    """Compiles each block: its includes, and the rest as a file or as the body of a function."""
    with_libpq = libpq()
    for is_file, block in DOCUMENTS[document]:
        lines = ["#include <stdio.h>", *block.splitlines()]
        includes = [line for line in lines if line.startswith("#include")]
        body = [line for line in lines if not line.startswith("#include")]
        source = tmp_path / "block.c"
        if is_file:
            includes += [LIBPQ_18] if "PQauthDataHook_type" in block else []
            source.write_text("\n".join([*includes, *body, "int main(void) { return 0; }"]))
        else:
            source.write_text("\n".join([*includes, "int main(void) {", *body, "return 0;", "}"]))
        options = ["-Wno-unused-variable", "-Wno-unused-but-set-variable", "-Wno-unused-function"]
        compile_program(source, tmp_path / "block", "C99", *options, *with_libpq)


def test_documentation_lists_every_key_of_a_request() -> None:
    """The error for an unknown key lists the keys, which the table of docs/c.md has too."""
    with pytest.raises(abi.Failed) as caught:
        abi.call("connection_plan", abi.text('{"no": 1}'))
    keys = re.search(r"expected one of ([\w, ]+)\.", str(caught.value))
    assert keys, caught.value
    page = (ROOT / "docs" / "c.md").read_text()
    table = page.partition("The request is a JSON object.")[2].partition("The plan is a JSON object")[0]
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", table, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"\w+", row)} == set(keys[1].split(", "))

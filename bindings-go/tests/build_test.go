package tests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/pgentra/pgentra/bindings-go/internal/emulator"
)

// The ways in which Go programs are built: vendored, without a shared library, beside another static library of Rust, and with an
// installed library.

const program = `package main

import (
	"context"
	"fmt"
	"os"

	"github.com/pgentra/pgentra/bindings-go/pgxentra"
)

func main() {
	ctx := context.Background()
	connection, err := pgxentra.Connect(ctx, os.Args[1])
	if err == nil {
		var role string
		err = connection.QueryRow(ctx, "select current_user::text").Scan(&role)
		fmt.Println("role:", role)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
`

// moduleFile returns the go.mod of a program that uses this clone.
func moduleFile(t *testing.T, name string) string {
	t.Helper()
	binding := filepath.Join(emulator.Root(), "bindings-go")
	var text strings.Builder
	fmt.Fprintf(&text, "module %s\n\ngo 1.26\n\n", name)
	const path = "github.com/pgentra/pgentra/bindings-go"
	for _, module := range []string{"", "/pgxentra"} {
		fmt.Fprintf(&text, "require %s%s v0.1.0\n", path, module)
	}
	for _, module := range []string{"", "/pgxentra", "/lib/darwin_arm64", "/lib/linux_amd64", "/lib/linux_arm64"} {
		fmt.Fprintf(&text, "replace %s%s => %s%s\n", path, module, binding, module)
	}
	return text.String()
}

// A project is a program in a folder of its own.
type project struct {
	folder string
	env    []string
}

func newProject(t *testing.T, files map[string]string) *project {
	t.Helper()
	made := &project{folder: t.TempDir(), env: os.Environ()}
	made.write(t, "go.mod", moduleFile(t, "program"))
	made.write(t, "main.go", program)
	for name, text := range files {
		made.write(t, name, text)
	}
	made.run(t, "go", "mod", "tidy")
	return made
}

func (p *project) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(p.folder, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *project) run(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	command := exec.Command(name, arguments...)
	command.Dir, command.Env = p.folder, p.env
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", name, arguments, err, output)
	}
	return string(output)
}

func (p *project) logsIn(t *testing.T, emulated *emulator.Emulator) {
	t.Helper()
	p.env = append(os.Environ(), "PGUSER=")
	if output := p.run(t, "./program", emulated.ConnString()); !strings.Contains(output, "role: app-mi\n") {
		t.Error(output)
	}
}

func TestBuild_vendored(t *testing.T) {
	emulated := emulator.Start(t)
	built := newProject(t, nil)
	built.run(t, "go", "mod", "vendor")
	// The archive is a file that Go does not list: it is in the folder of a package, so that it is copied too.
	built.run(t, "go", "build", "-mod=vendor", "-tags", "pgentra_testing", "-o", "program", ".")
	built.logsIn(t, emulated)
}

func TestBuild_static_in_an_empty_root(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("chroot needs root on Linux")
	}
	emulated := emulator.Start(t)
	built := newProject(t, nil)
	built.run(t, "go", "build", "-tags", "pgentra_testing,netgo,osusergo", "-ldflags", "-linkmode=external -extldflags=-static",
		"-o", "program", ".")
	if output := built.run(t, "sh", "-c", "ldd program 2>&1 || true"); !strings.Contains(output, "not a dynamic executable") {
		t.Error(output)
	}
	root := t.TempDir()
	for _, file := range []string{filepath.Join(built.folder, "program"), emulated.Text("ca_file"), emulated.Text("bundle_file")} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, filepath.Base(file)), content, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	// Without a file of its own, the name localhost is not found.
	command := exec.Command("/program", strings.NewReplacer(
		emulated.Text("ca_file"), "/"+filepath.Base(emulated.Text("ca_file")), "host=localhost", "host=127.0.0.1",
	).Replace(emulated.ConnString()))
	command.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	command.Dir = "/"
	command.Env = []string{
		"IDENTITY_ENDPOINT=" + emulated.Text("app_service", "endpoint"), "IDENTITY_HEADER=" + emulated.Text("app_service", "header"),
		"SSL_CERT_FILE=/" + filepath.Base(emulated.Text("bundle_file")), "NO_PROXY=localhost,127.0.0.1",
	}
	output, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "role: app-mi\n") {
		t.Errorf("%v: %s", err, output)
	}
}

func TestBuild_beside_another_library_of_rust(t *testing.T) {
	if err := exec.Command("rustc", "--version").Run(); err != nil {
		t.Skip("no rustc on this machine")
	}
	emulated := emulator.Start(t)
	built := newProject(t, map[string]string{
		"other/other.rs": `#[no_mangle]
pub extern "C" fn other_sum(up_to: u64) -> u64 {
    std::panic::catch_unwind(|| (1..=up_to).map(|n| n.to_string().parse::<u64>().unwrap()).sum()).unwrap_or(0)
}
`,
		"other/other.go": `package other

// #cgo LDFLAGS: ${SRCDIR}/libother.a -ldl -lm -lpthread
// #include <stdint.h>
// uint64_t other_sum(uint64_t up_to);
import "C"

// Sum calls another library.
func Sum(upTo uint64) uint64 { return uint64(C.other_sum(C.uint64_t(upTo))) }
`,
		"also.go": `package main

import (
	"fmt"
	"program/other"
)

func init() { fmt.Println("sum:", other.Sum(10)) }
`,
	})
	built.run(t, "rustc", "--edition", "2021", "--crate-type", "staticlib", "-O", "-o", "other/libother.a", "other/other.rs")
	built.run(t, "go", "build", "-tags", "pgentra_testing", "-o", "program", ".")
	if output := built.run(t, "./program", emulated.ConnString()); !strings.Contains(output, "sum: 55\nrole: app-mi\n") {
		t.Error(output)
	}
}

// The tag pgentra_dynamic takes the library from pkg-config.
func TestBuild_with_an_installed_library(t *testing.T) {
	if err := exec.Command("pkg-config", "--version").Run(); err != nil {
		t.Skip("no pkg-config on this machine")
	}
	library := os.Getenv("PGENTRA_TARGET")
	if library == "" {
		library = filepath.Join(emulator.Root(), "target", "debug")
	}
	emulated := emulator.Start(t)
	built := newProject(t, map[string]string{"pkgconfig/pgentra.pc": fmt.Sprintf(
		"Name: pgentra\nDescription: the library of a test\nVersion: 0.1.0\nCflags: -I%s\nLibs: -L%s -lpgentra\n",
		filepath.Join(emulator.Root(), "bindings-c", "include"), library)})
	link := filepath.Join(built.folder, "libpgentra.so.1")
	if err := os.Symlink(filepath.Join(library, "libpgentra.so"), link); err != nil {
		t.Fatal(err)
	}
	built.env = append(built.env, "PKG_CONFIG_PATH="+filepath.Join(built.folder, "pkgconfig"))
	built.run(t, "go", "build", "-tags", "pgentra_dynamic", "-o", "program", ".")
	t.Setenv("LD_LIBRARY_PATH", built.folder)
	if output := built.run(t, "ldd", "program"); !strings.Contains(output, "libpgentra.so.1") {
		t.Error(output)
	}
	built.logsIn(t, emulated)
}

// Package emulator runs pgentra-emulator as a child process for tests, and is a client of its control endpoint.
// emulator/README.md is the reference.
package emulator

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// An Object is a JSON object.
type Object = map[string]any

// Emulator is a running emulator.
type Emulator struct {
	addresses Object
}

var (
	lock       sync.Mutex
	running    *Emulator
	startError error
	process    *exec.Cmd
	names      atomic.Int64
	client     = &http.Client{Transport: &http.Transport{Proxy: nil}}
)

// inherited are prefixes of variables that programs under test must not inherit, because they select an identity or a server.
var inherited = []string{
	"AZURE_", "IDENTITY_", "MSI_", "IMDS_", "PG", "SSL_CERT_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "SYSTEM_",
	"http_proxy", "https_proxy", "all_proxy", "NO_PROXY", "no_proxy",
}

// Root is the repository.
func Root() string {
	folder, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for folder != "/" {
		if _, err := os.Stat(filepath.Join(folder, "tests", "vectors")); err == nil {
			return folder
		}
		folder = filepath.Dir(folder)
	}
	panic("the tests run in a clone of the repository")
}

// Main runs the tests of a package and stops the emulator.
func Main(m *testing.M) {
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		for _, prefix := range inherited {
			if strings.HasPrefix(name, prefix) && !strings.HasPrefix(name, "PGENTRA_") {
				_ = os.Unsetenv(name)
			}
		}
	}
	status := m.Run()
	if process != nil {
		_ = process.Process.Kill()
		_ = process.Wait()
	}
	os.Exit(status)
}

// Start returns the emulator of this test program, with all faults, records and settings reset, and sets the variables of its App
// Service identity for the test.
func Start(t testing.TB) *Emulator {
	t.Helper()
	lock.Lock()
	defer lock.Unlock()
	if running == nil && startError == nil {
		running, startError = start()
	}
	if startError != nil {
		t.Fatal(startError)
	}
	running.Reset(t)
	for name, value := range running.Environment() {
		t.Setenv(name, value)
	}
	return running
}

func start() (*Emulator, error) {
	binary := os.Getenv("PGENTRA_EMULATOR")
	if binary == "" {
		binary = filepath.Join(Root(), "target", "debug", "pgentra-emulator")
	}
	process = exec.Command(binary)
	process.Stderr = os.Stderr
	output, err := process.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := process.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(output).ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("the emulator did not start: %w", err)
	}
	made := &Emulator{}
	return made, json.Unmarshal(line, &made.addresses)
}

// Reset removes all faults, recorded requests and settings.
func (e *Emulator) Reset(t testing.TB) {
	t.Helper()
	e.Call(t, "DELETE", "/faults", nil)
	e.Call(t, "DELETE", "/requests", nil)
	cleared := Object{}
	for key := range e.Call(t, "GET", "/tokens", nil).(Object) {
		cleared[key] = nil
	}
	e.Call(t, "PATCH", "/tokens", cleared)
	e.Call(t, "PUT", "/config", Object{"app_service": Object{"default": "app-mi"}})
	e.ControlPostgres(t, Object{"reset": true, "plaintext": false})
}

// Text returns an address of the emulator by its path.
func (e *Emulator) Text(path ...string) string {
	var value any = e.addresses
	for _, key := range path {
		value = value.(Object)[key]
	}
	if number, ok := value.(float64); ok {
		return fmt.Sprintf("%.0f", number)
	}
	return value.(string)
}

// Environment returns the variables of a program that uses the emulator's App Service identity.
func (e *Emulator) Environment() map[string]string {
	return map[string]string{
		"IDENTITY_ENDPOINT": e.Text("app_service", "endpoint"),
		"IDENTITY_HEADER":   e.Text("app_service", "header"),
		"SSL_CERT_FILE":     e.Text("bundle_file"),
		"NO_PROXY":          "localhost,127.0.0.1,::1",
	}
}

// Host returns the variables of another environment.
func (e *Emulator) Host(name string) map[string]string {
	found := map[string]string{}
	for key, value := range e.addresses["hosts"].(Object)[name].(Object) {
		found[key] = value.(string)
	}
	return found
}

// ConnString returns the settings of the PostgreSQL proxy with verified TLS, and without a user.
func (e *Emulator) ConnString() string {
	return fmt.Sprintf("%s sslmode=verify-full sslrootcert=%s", e.Address("localhost"), e.Text("ca_file"))
}

// Address returns the settings of the PostgreSQL proxy under another name of this machine.
func (e *Emulator) Address(host string) string {
	return fmt.Sprintf("host=%s port=%s dbname=%s", host, e.Text("postgres", "port"), e.Text("postgres", "database"))
}

// A Principal is one of a test, for which no token is cached.
type Principal struct {
	Name     string `json:"name"`
	ObjectID string `json:"oid"`
	ClientID string `json:"appid"`
	Secret   string `json:"client_secret"`
}

// Add creates a principal with further settings.
func (e *Emulator) Add(t testing.TB, kind string, more Object) Principal {
	t.Helper()
	name := fmt.Sprintf("%s-go-%d-%d", strings.ReplaceAll(kind, "_", "-"), os.Getpid(), names.Add(1))
	given := Object{"name": name, "kind": kind}
	if kind == "service_principal" {
		given["client_secret"] = "canary-secret-of-" + name
	}
	if kind == "user" {
		given["upn"] = name
	}
	for key, value := range more {
		given[key] = value
	}
	var made []Principal
	e.Into(t, "POST", "/principals", []Object{given}, &made)
	return made[0]
}

// Mint creates a token of a principal.
func (e *Emulator) Mint(t testing.TB, principal string, more Object) string {
	t.Helper()
	body := Object{"principal": principal}
	for key, value := range more {
		body[key] = value
	}
	return e.Call(t, "POST", "/mint", body).(Object)["token"].(string)
}

// Tools returns the folder of an az, an azd and a pwsh that a user is signed in to.
func (e *Emulator) Tools(t testing.TB, user string) string {
	t.Helper()
	return e.Call(t, "POST", "/tools", Object{"principal": user}).(Object)["path"].(string)
}

// Fault adds a fault.
func (e *Emulator) Fault(t testing.TB, fault Object) {
	t.Helper()
	e.Call(t, "POST", "/faults", fault)
}

// ClearFaults removes all faults.
func (e *Emulator) ClearFaults(t testing.TB) {
	t.Helper()
	e.Call(t, "DELETE", "/faults", nil)
}

// SetTokens changes the token settings.
func (e *Emulator) SetTokens(t testing.TB, settings Object) {
	t.Helper()
	e.Call(t, "PATCH", "/tokens", settings)
}

// ControlPostgres changes the behaviour of the PostgreSQL proxy.
func (e *Emulator) ControlPostgres(t testing.TB, settings Object) {
	t.Helper()
	e.Call(t, "POST", "/postgres", settings)
}

// Logins returns the login attempts at the PostgreSQL proxy.
func (e *Emulator) Logins(t testing.TB) []Object {
	t.Helper()
	var found []Object
	for _, one := range e.Call(t, "GET", "/postgres", nil).(Object)["logins"].([]any) {
		found = append(found, one.(Object))
	}
	return found
}

// PlaintextBytes returns how many bytes of passwords the proxy received without TLS.
func (e *Emulator) PlaintextBytes(t testing.TB) int {
	t.Helper()
	counters := e.Call(t, "GET", "/postgres", nil).(Object)["counters"].(Object)
	return int(counters["plaintext_password_bytes"].(float64))
}

// Requests returns the requests for database tokens of a principal.
func (e *Emulator) Requests(t testing.TB, principal string) []Object {
	t.Helper()
	var found []Object
	for _, one := range e.Call(t, "GET", "/requests", nil).(Object)["requests"].([]any) {
		request := one.(Object)
		resource, _ := request["resource"].(string)
		if request["principal"] == principal && strings.Contains(resource, "ossrdbms") {
			found = append(found, request)
		}
	}
	return found
}

// Call sends a request to the control endpoint and returns the response.
func (e *Emulator) Call(t testing.TB, method, path string, body any) any {
	t.Helper()
	var found any
	e.Into(t, method, path, body, &found)
	return found
}

// Into is Call with a place for the response.
func (e *Emulator) Into(t testing.TB, method, path string, body, into any) {
	t.Helper()
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, e.Text("control")+path, content)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("content-type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode >= 300 {
		t.Fatalf("%s %s: %s", method, path, text)
	}
	if len(text) > 0 {
		if err := json.Unmarshal(text, into); err != nil {
			t.Fatal(err)
		}
	}
}

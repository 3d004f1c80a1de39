//go:build pgentra_testing

package pgentra

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pgentra/pgentra/bindings-go/internal/emulator"
)

// The cases of tests/vectors. What the public functions do not show runs in the engine, by the feature `testing` of the archive.

type object = map[string]any

var vectorFolder = filepath.Join(emulator.Root(), "tests", "vectors")

func vectorText(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(vectorFolder, file+".json"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// each runs the cases of a group of a file.
func each(t *testing.T, file, group string, run func(t *testing.T, one object)) {
	t.Helper()
	var groups map[string]json.RawMessage
	text := strings.ReplaceAll(vectorText(t, file), "{files}", filepath.Join(vectorFolder, "services"))
	if err := json.Unmarshal([]byte(text), &groups); err != nil {
		t.Fatal(err)
	}
	var cases []object
	if err := json.Unmarshal(groups[group], &cases); err != nil || len(cases) == 0 {
		t.Fatalf("%s: no cases of %s: %v", file, group, err)
	}
	for index, one := range cases {
		name, ok := one["name"].(string)
		if !ok {
			name = fmt.Sprint(index)
		}
		t.Run(file+"/"+group+"/"+name, func(t *testing.T) { run(t, one) })
	}
}

// inEngine runs a case in the engine. The error is that of the case.
func inEngine(t *testing.T, group string, one object) (any, string, error) {
	t.Helper()
	folder := t.TempDir()
	text, err := json.Marshal(one)
	if err != nil {
		t.Fatal(err)
	}
	outcome, err := runVector(group, strings.ReplaceAll(string(text), "{dir}", folder), folder)
	if err != nil {
		return nil, folder, err
	}
	var found any
	if err := json.Unmarshal([]byte(outcome), &found); err != nil {
		t.Fatal(err)
	}
	return found, folder, nil
}

func mustRun(t *testing.T, group string, one object) any {
	t.Helper()
	found, _, err := inEngine(t, group, one)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func equal(t *testing.T, found, expected any) {
	t.Helper()
	if !reflect.DeepEqual(found, expected) {
		t.Errorf("%v is not %v", found, expected)
	}
}

func contains(t *testing.T, text string, parts any) {
	t.Helper()
	list, _ := parts.([]any)
	for _, part := range list {
		if !strings.Contains(text, part.(string)) {
			t.Errorf("%v is not in: %s", part, text)
		}
	}
}

// joined returns the token of a case.
func joined(token any) string {
	if text, ok := token.(string); ok {
		return text
	}
	var made strings.Builder
	for _, part := range token.([]any) {
		switch part := part.(type) {
		case string:
			made.WriteString(part)
		case object:
			made.WriteString(strings.Repeat(part["repeat"].(string), int(part["times"].(float64))))
		}
	}
	return made.String()
}

func asError(t *testing.T, err error) *Error {
	t.Helper()
	var found *Error
	if !errors.As(err, &found) {
		t.Fatalf("%v is not an error of pgentra", err)
	}
	return found
}

func TestVectors_files(t *testing.T) {
	found, err := filepath.Glob(filepath.Join(vectorFolder, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	// Those of other languages' constructors, and of Python's process-wide login.
	others := regexp.MustCompile(`^options-|^untrusted`)
	var names []string
	for _, path := range found {
		if name := strings.TrimSuffix(filepath.Base(path), ".json"); !others.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	equal(t, names, []string{
		"bindings", "claims", "clouds", "connections", "entra-errors", "login_errors", "timing", "tls",
	})
}

func TestVectors_claims(t *testing.T) {
	each(t, "claims", "tokens", func(t *testing.T, one object) {
		token := joined(one["token"])
		if claims, ok := one["claims"]; ok {
			decoded, err := DecodeJWT(token)
			if err != nil {
				t.Fatal(err)
			}
			equal(t, decoded, claims)
		}
		described := mustRun(t, "tokens", one).(object)
		for key, value := range described {
			if list, ok := value.([]any); value == nil || ok && len(list) == 0 {
				delete(described, key)
			}
		}
		expect := one["expect"].(object)
		equal(t, described, expect)
		// Whitespace around a token is removed when it is decoded, not when it is sent.
		role, ok := expect["role"].(string)
		if !ok || token != strings.TrimSpace(token) {
			return
		}
		credential, err := NewStaticTokenCredential(token, timeOf(4e12))
		if err != nil {
			t.Fatal(err)
		}
		provider, err := NewTokenProvider(
			WithCredential(credential), WithManagementLookup(false), WithEnvironment(map[string]string{}))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = provider.Close() }()
		login, err := provider.Login(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		equal(t, []string{login.User, login.Source, login.Password()}, []string{role, expect["source"].(string), token})
	})
	rejected := func(t *testing.T, one object) {
		token := joined(one["token"])
		decoded, err := DecodeJWT(token)
		code, isRejected := one["error"]
		if !isRejected {
			if err != nil {
				t.Fatal(err)
			}
			equal(t, decoded["upn"], one["role"])
			return
		}
		equal(t, mustRun(t, "tokens", one).(object)["error"], code)
		failed := asError(t, err)
		equal(t, failed.Code, ErrTokenDecode)
		if !strings.HasPrefix(failed.Message, "Invalid JWT token format") {
			t.Error(failed.Message)
		}
		if len(token) >= 8 && strings.Contains(failed.Message, token) {
			t.Error("the message contains the token")
		}
	}
	each(t, "claims", "rejected", rejected)
	each(t, "claims", "large", rejected)
	each(t, "claims", "resource_ids", func(t *testing.T, one object) {
		name, err := ParsePrincipalName(one["xms_mirid"].(string))
		if err != nil {
			t.Fatal(err)
		}
		expected, _ := one["parse_principal_name"].(string)
		equal(t, name, expected)
		equal(t, mustRun(t, "resource_ids", one), one["identity_name"])
	})
	each(t, "claims", "missing_names", func(t *testing.T, one object) {
		contains(t, mustRun(t, "missing_names", one).(string), one["contains"])
	})
	each(t, "claims", "create_role", func(t *testing.T, one object) {
		equal(t, mustRun(t, "create_role", one), one["statement"])
	})
}

func TestVectors_clouds(t *testing.T) {
	each(t, "clouds", "cases", func(t *testing.T, one object) {
		found := mustRun(t, "clouds", one).(object)
		if failed, ok := one["error"].(object); ok {
			equal(t, found["setting"], failed["setting"])
			return
		}
		expect := one["expect"].(object)
		warning, _ := found["warning"].(string)
		contains(t, warning, expect["warning"])
		equal(t, warning == "", expect["warning"] == nil)
		for _, key := range []string{"cloud", "scope", "management_scope", "authority_host"} {
			equal(t, found[key], expect[key])
		}
	})
	each(t, "clouds", "resources", func(t *testing.T, one object) {
		equal(t, mustRun(t, "resources", one), one["resource"])
	})
}

func TestVectors_login_errors(t *testing.T) {
	each(t, "login_errors", "login_errors", func(t *testing.T, one object) {
		state, _ := one["sqlstate"].(string)
		message := one["message"].(string)
		equal(t, nativeLoginErrorCause(state, message), one["cause"])
		equal(t, nativeLoginErrorIsRetriable(state, message), one["retry"])
	})
	each(t, "login_errors", "explanations", func(t *testing.T, one object) {
		text := mustRun(t, "explanations", one).(string)
		contains(t, text, one["contains"])
		lacks, _ := one["lacks"].([]any)
		for _, part := range lacks {
			if strings.Contains(text, part.(string)) {
				t.Errorf("%v is in: %s", part, text)
			}
		}
		equal(t, text == "", one["cause"] == "not_a_login")
	})
}

func checkRefused(t *testing.T, err error, expected object) {
	t.Helper()
	failed := asError(t, err)
	equal(t, string(failed.Code), expected["error"])
	contains(t, failed.Message, expected["contains"])
	if strings.Contains(failed.Message, "pa55word") {
		t.Error(failed.Message)
	}
}

// rawPlan returns the plan of a request as it is.
func rawPlan(t *testing.T, request object) (object, error) {
	t.Helper()
	plan, err := nativePlanDocument(request)
	if err != nil {
		return nil, err
	}
	var found object
	if err := json.Unmarshal(plan, &found); err != nil {
		t.Fatal(err)
	}
	return found, nil
}

func TestVectors_connections(t *testing.T) {
	each(t, "connections", "strings", func(t *testing.T, one object) {
		form, _ := one["form"].(string)
		settings, err := nativeReadConnection(one["text"].(string), form)
		if _, ok := one["error"]; ok {
			checkRefused(t, err, one)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		found := object{}
		for key, value := range settings {
			found[key] = value
		}
		equal(t, found, one["settings"])
	})
	each(t, "connections", "plans", func(t *testing.T, one object) {
		request := object{"environment": object{}}
		for key, value := range one["request"].(object) {
			request[key] = value
		}
		request["repeat_warnings"] = true
		result := one["result"].(object)
		plan, err := rawPlan(t, request)
		if _, ok := result["error"]; ok {
			checkRefused(t, err, result)
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		for key, value := range result {
			if key != "warns" {
				equal(t, plan[key], value)
			}
		}
		if warns, ok := result["warns"].([]any); ok {
			warnings := plan["warnings"].([]any)
			equal(t, len(warnings), len(warns))
			for i, part := range warns {
				contains(t, warnings[i].(string), []any{part})
			}
		}
	})
}

func TestVectors_tls(t *testing.T) {
	each(t, "tls", "cases", func(t *testing.T, one object) {
		arguments := object{"sslmode": one["sslmode"]}
		hosts, isKnown := one["hosts"].([]any)
		if isKnown {
			names := make([]string, len(hosts))
			for i, host := range hosts {
				names[i] = host.(string)
			}
			arguments["host"] = strings.Join(names, ",")
		}
		allowed, _ := one["allow_insecure"].(bool)
		plan, err := rawPlan(t, object{
			"arguments": arguments, "variables": object{}, "service_files": false, "environment": object{},
			"unknown_server": !isKnown, "allow_insecure_transport": allowed,
		})
		if refused, ok := one["result"].(object); ok {
			equal(t, string(asError(t, err).Code), refused["error"])
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		equal(t, plan["sslmode"], one["result"])
	})
}

func TestVectors_timing(t *testing.T) {
	each(t, "timing", "cases", func(t *testing.T, one object) {
		var expected []any
		for _, step := range one["steps"].([]any) {
			expected = append(expected, step.(object)["expect"])
		}
		equal(t, mustRun(t, "timing", one), expected)
	})
	each(t, "timing", "refresh_points", func(t *testing.T, one object) {
		equal(t, mustRun(t, "refresh_points", one), object{"from": one["from"], "to": one["to"]})
	})
}

func TestVectors_bindings(t *testing.T) {
	each(t, "bindings", "responses", func(t *testing.T, one object) {
		found, _, err := inEngine(t, "responses", one)
		if expected, ok := one["error"].(object); ok {
			code := expected["code"]
			if code == nil {
				code = expected["kind"]
			}
			equal(t, string(asError(t, err).Code), code)
			return
		}
		equal(t, found, one["token"])
	})
	each(t, "bindings", "handles", func(t *testing.T, one object) {
		found, _, err := inEngine(t, "handles", one)
		if code, ok := one["error"]; ok {
			equal(t, string(asError(t, err).Code), code)
			return
		}
		equal(t, found, object{"document": one["document"], "custom_credentials": one["custom_credentials"]})
	})
}

// events collects the log.
type events struct {
	lock sync.Mutex
	text strings.Builder
}

func (e *events) Write(text []byte) (int, error) {
	e.lock.Lock()
	defer e.lock.Unlock()
	return e.text.Write(text)
}

func (e *events) String() string {
	e.lock.Lock()
	defer e.lock.Unlock()
	return e.text.String()
}

func checkVectorError(t *testing.T, err error, folder string, expected object) {
	t.Helper()
	failed := asError(t, err)
	equal(t, string(failed.Code), expected["kind"])
	number, _ := expected["aadsts"].(float64)
	equal(t, failed.AADSTS, int(number))
	texts, _ := expected["text"].([]any)
	for _, part := range texts {
		contains(t, failed.Message, []any{strings.ReplaceAll(part.(string), "{dir}", folder)})
	}
	var detail object
	if err := json.Unmarshal(failed.Detail, &detail); err != nil {
		t.Fatal(err)
	}
	wanted, _ := expected["detail"].(object)
	for key, value := range wanted {
		equal(t, detail[key], value)
	}
	attempts := []any{}
	for _, attempt := range failed.Attempts {
		attempts = append(attempts, []any{attempt.Credential, string(attempt.Code)})
	}
	wantedAttempts, ok := expected["attempts"].([]any)
	if !ok {
		wantedAttempts = []any{}
	}
	equal(t, attempts, wantedAttempts)
	encoded, err := json.Marshal(failed)
	if err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %s", failed, failed, *failed, encoded)
	if strings.Contains(strings.ToLower(shown), "canary") {
		t.Error("the error contains a secret")
	}
}

func TestVectors_credentials(t *testing.T) {
	logged := &events{}
	SetLogger(slog.New(slog.NewJSONHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer logger.Store(nil)
	startLog()
	files, err := filepath.Glob(filepath.Join(vectorFolder, "credentials", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		file := "credentials/" + strings.TrimSuffix(filepath.Base(path), ".json")
		each(t, file, "cases", func(t *testing.T, one object) {
			found, folder, err := inEngine(t, "credentials", one)
			for _, key := range []string{"build_error", "error"} {
				if expected, ok := one[key].(object); ok {
					checkVectorError(t, err, folder, expected)
					return
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			for key, value := range one["token"].(object) {
				equal(t, found.(object)[key], value)
			}
		})
	}
	if strings.Contains(strings.ToLower(logged.String()), "canary") {
		t.Error("the log contains a secret")
	}
}

func TestVectors_entra_errors(t *testing.T) {
	each(t, "entra-errors", "cases", func(t *testing.T, one object) {
		_, folder, err := inEngine(t, "entra-errors", one)
		checkVectorError(t, err, folder, one["error"].(object))
	})
}

package pgentra

/*
#include <stdlib.h>
#include "glue.h"
#include "pgentra.h"

// The warm path: the functions neither keep the pointer to their results nor call Go.
#cgo noescape pgentra_go_try_login
#cgo nocallback pgentra_go_try_login
#cgo noescape pgentra_go_try_get
#cgo nocallback pgentra_go_try_get
*/
import "C"

import (
	"encoding/json"
	"os"
	"strings"
	"sync"
	"time"
	"unsafe"
)

// This file has every call of the C ABI. All of them copy what they return.

// Handles are looked up by the library and never dereferenced, so that a closed one gives an error.
type (
	providerHandle   = *C.pgentra_provider
	credentialHandle = *C.pgentra_credential
	requestHandle    = *C.pgentra_request
)

// secretCString returns a copy of a text in C memory, and a function that overwrites and frees it. A text with NUL must not
// be passed.
func secretCString(text string) (*C.char, func()) {
	copied := C.CString(text)
	return copied, func() {
		clear(unsafe.Slice((*byte)(unsafe.Pointer(copied)), len(text)))
		C.free(unsafe.Pointer(copied))
	}
}

// optionalCString is secretCString with NULL for an empty text.
func optionalCString(text string) (*C.char, func()) {
	if text == "" {
		return nil, func() {}
	}
	return secretCString(text)
}

func takeString(text *C.char) string {
	defer C.pgentra_string_free(text)
	return C.GoString(text)
}

// takeError converts and frees an error of the library.
func takeError(kind C.int32_t, taken *C.pgentra_error) error {
	if kind == C.PGENTRA_OK {
		return nil
	}
	defer C.pgentra_error_free(taken)
	found := errorOf(C.GoString(C.pgentra_error_message(taken)), C.GoString(C.pgentra_error_detail_json(taken)))
	if id := uint64(C.pgentra_go_cause(taken)); id != 0 {
		if cause := causes.find(id); cause != nil {
			found.causes = append(found.causes, cause)
		}
	}
	return found
}

// newError returns an error with the parts that the library gives to all errors.
func newError(code ErrorCode, message, advice, credential string) *Error {
	text, free := secretCString(strings.ReplaceAll(message, "\x00", ""))
	defer free()
	hint, freeHint := optionalCString(advice)
	defer freeHint()
	name, freeName := optionalCString(credential)
	defer freeName()
	var made *C.pgentra_error
	kind := C.pgentra_error_new(C.int32_t(code.number()), text, hint, name, &made)
	return takeError(kind, made).(*Error)
}

// Documents

// read calls a function that returns a JSON document.
func read[T any](call func(**C.char, **C.pgentra_error) C.int32_t) (T, error) {
	var document T
	var text *C.char
	var failed *C.pgentra_error
	if err := takeError(call(&text, &failed), failed); err != nil {
		return document, err
	}
	err := json.Unmarshal([]byte(takeString(text)), &document)
	return document, err
}

func variablesOf(call func(**C.char, **C.pgentra_error) C.int32_t) []string {
	names, err := read[[]string](call)
	if err != nil {
		return nil // The function does not fail: its only argument is given.
	}
	return names
}

var (
	configVariables = sync.OnceValue(func() []string {
		return variablesOf(func(text **C.char, failed **C.pgentra_error) C.int32_t {
			return C.pgentra_known_variables(text, failed)
		})
	})
	connectionVariables = sync.OnceValue(func() []string {
		return variablesOf(func(text **C.char, failed **C.pgentra_error) C.int32_t {
			return C.pgentra_connection_variables(text, failed)
		})
	})
)

// environmentOf returns the variables with these names from given ones, or from the process if none are given. Without
// names, it returns all variables.
func environmentOf(given map[string]string, names []string) map[string]string {
	found := map[string]string{}
	if given == nil && names == nil {
		for _, variable := range os.Environ() {
			if name, value, ok := strings.Cut(variable, "="); ok && name != "" {
				found[name] = value
			}
		}
		return found
	}
	if names == nil {
		return given
	}
	for _, name := range names {
		value, ok := given[name]
		if given == nil {
			value, ok = os.LookupEnv(name)
		}
		if ok {
			found[name] = value
		}
	}
	return found
}

func nativeErrorKinds() ([]errorKind, error) {
	return read[[]errorKind](func(text **C.char, failed **C.pgentra_error) C.int32_t {
		return C.pgentra_error_kinds(text, failed)
	})
}

func nativeStats() ([]TokenStats, error) {
	return read[[]TokenStats](func(text **C.char, failed **C.pgentra_error) C.int32_t {
		return C.pgentra_stats(text, failed)
	})
}

func nativeProviderStats(provider providerHandle) (TokenStats, error) {
	return read[TokenStats](func(text **C.char, failed **C.pgentra_error) C.int32_t {
		return C.pgentra_provider_stats(provider, text, failed)
	})
}

func nativeDecodeJWT(token string) (map[string]any, error) {
	given, free := secretCString(token)
	defer free()
	return read[map[string]any](func(text **C.char, failed **C.pgentra_error) C.int32_t {
		return C.pgentra_decode_jwt(given, text, failed)
	})
}

func nativeParsePrincipalName(id string) (string, error) {
	given, free := secretCString(id)
	defer free()
	var name *C.char
	var failed *C.pgentra_error
	err := takeError(C.pgentra_parse_principal_name(given, &name, &failed), failed)
	if err != nil || name == nil {
		return "", err
	}
	return takeString(name), nil
}

// nativeReadConnection returns the settings of a connection string by libpq's keywords.
func nativeReadConnection(text, form string) (map[string]string, error) {
	if strings.ContainsRune(text, 0) {
		return nil, newError(ErrInvalidConnection, "the connection string contains a NUL character", "", "")
	}
	given, free := secretCString(text)
	defer free()
	named, freeNamed := optionalCString(form)
	defer freeNamed()
	return read[map[string]string](func(text **C.char, failed **C.pgentra_error) C.int32_t {
		return C.pgentra_connection_read(given, named, text, failed)
	})
}

// nativePlanDocument returns the plan of a request as JSON.
func nativePlanDocument(request map[string]any) (json.RawMessage, error) {
	document, err := json.Marshal(request)
	if err != nil {
		return nil, err
	}
	given, free := secretCString(string(document))
	defer free()
	return read[json.RawMessage](func(text **C.char, failed **C.pgentra_error) C.int32_t {
		return C.pgentra_connection_plan(given, text, failed)
	})
}

// Login errors

func nativeLoginErrorCause(sqlstate, message string) string {
	state, free := optionalCString(withoutNUL(sqlstate))
	defer free()
	text, freeText := secretCString(withoutNUL(message))
	defer freeText()
	return C.GoString(C.pgentra_login_error_cause(state, text))
}

func nativeLoginErrorIsRetriable(sqlstate, message string) bool {
	state, free := optionalCString(withoutNUL(sqlstate))
	defer free()
	text, freeText := secretCString(withoutNUL(message))
	defer freeText()
	return bool(C.pgentra_login_error_is_retriable(state, text))
}

// nativeExplainLoginError returns lines to add to the server's message. Without a host, unused variables of Azure Service
// Connector are not named.
func nativeExplainLoginError(sqlstate, message, role, source, token, host string, environment map[string]string) string {
	document, err := json.Marshal(environment)
	if err != nil {
		return ""
	}
	texts := []string{sqlstate, message, role, source, token, host, string(document)}
	given := make([]*C.char, len(texts))
	for i, text := range texts {
		var free func()
		given[i], free = optionalCString(withoutNUL(text))
		defer free()
	}
	if given[1] == nil || given[2] == nil {
		return ""
	}
	var explanation *C.char
	var failed *C.pgentra_error
	kind := C.pgentra_login_error_explain(given[0], given[1], given[2], given[3], given[4], given[5], given[6],
		&explanation, &failed)
	if takeError(kind, failed) != nil || explanation == nil {
		return ""
	}
	return takeString(explanation)
}

func withoutNUL(text string) string { return strings.ReplaceAll(text, "\x00", "") }

// Providers

// openProvider opens a provider with a configuration, and with a credential in place of the configuration's unless it is nil.
func openProvider(config map[string]any, credential credentialHandle) (providerHandle, error) {
	startLog()
	document, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	given, free := secretCString(string(document))
	defer free()
	var opened *C.pgentra_provider
	var failed *C.pgentra_error
	if credential == nil {
		err = takeError(C.pgentra_provider_open(given, &opened, &failed), failed)
	} else {
		err = takeError(C.pgentra_provider_open_with(given, credential, &opened, &failed), failed)
	}
	return opened, err
}

func closeProvider(provider providerHandle) { C.pgentra_provider_close(provider) }

// tryLogin returns the current login if its id differs from the given one. Otherwise the login is nil, and the id is the given
// one, or 0 if no usable token is cached.
func tryLogin(provider providerHandle, id uint64) (uint64, *Login, error) {
	var result C.pgentra_go_result
	result.id = C.uint64_t(id)
	C.pgentra_go_try_login(provider, &result)
	if result.kind == C.PGENTRA_OK && result.user == nil {
		return uint64(result.id), nil, nil
	}
	return takeLogin(&result)
}

func takeLogin(result *C.pgentra_go_result) (uint64, *Login, error) {
	if result.kind != C.PGENTRA_OK {
		return 0, nil, takeError(result.kind, result.error)
	}
	return uint64(result.id), &Login{
		User:      takeString(result.user),
		Source:    takeString(result.source),
		ExpiresOn: timeOf(result.expires_on),
		password:  hide(takeString(result.password)),
	}, nil
}

// tryToken is tryLogin for a token.
func tryToken(provider providerHandle, id uint64) (uint64, *Token, error) {
	var result C.pgentra_go_result
	result.id = C.uint64_t(id)
	C.pgentra_go_try_get(provider, &result)
	if result.kind == C.PGENTRA_OK && result.password == nil {
		return uint64(result.id), nil, nil
	}
	if result.kind != C.PGENTRA_OK {
		return 0, nil, takeError(result.kind, result.error)
	}
	return uint64(result.id), &Token{
		ExpiresOn: timeOf(result.expires_on),
		value:     hide(takeString(result.password)),
	}, nil
}

// blockingLogin waits for a login; a negative limit is the provider's own.
func blockingLogin(provider providerHandle, limit int) (*Login, error) {
	var result C.pgentra_go_result
	result.kind = C.pgentra_provider_login(provider, C.int32_t(limit), &result.user, &result.password, &result.source,
		&result.expires_on, &result.error)
	_, login, err := takeLogin(&result)
	return login, err
}

func blockingToken(provider providerHandle, limit int) (*Token, error) {
	var result C.pgentra_go_result
	kind := C.pgentra_provider_get(provider, C.int32_t(limit), &result.password, &result.expires_on, &result.error)
	if err := takeError(kind, result.error); err != nil {
		return nil, err
	}
	return &Token{ExpiresOn: timeOf(result.expires_on), value: hide(takeString(result.password))}, nil
}

// blockingInvalidate reports whether a newer token than the rejected one is available.
func blockingInvalidate(provider providerHandle, rejected string, limit int) (bool, error) {
	given, free := optionalCString(rejected)
	defer free()
	var newer *C.char
	var failed *C.pgentra_error
	kind := C.pgentra_provider_invalidate(provider, given, C.int32_t(limit), &newer, &failed)
	if err := takeError(kind, failed); err != nil {
		return false, err
	}
	defer C.pgentra_string_free(newer)
	return newer != nil, nil
}

func timeOf(seconds C.int64_t) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0)
}

func secondsOf(moment time.Time) C.int64_t {
	if moment.IsZero() {
		return 0
	}
	return C.int64_t(moment.Unix())
}

// Credentials

func openCredential(config map[string]any, members []credentialHandle) (credentialHandle, error) {
	startLog()
	document, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	given, free := secretCString(string(document))
	defer free()
	var first **C.pgentra_credential
	if len(members) > 0 {
		first = &members[0]
	}
	var opened *C.pgentra_credential
	var failed *C.pgentra_error
	kind := C.pgentra_credential_open(given, first, C.size_t(len(members)), &opened, &failed)
	return opened, takeError(kind, failed)
}

func checkConfig(config map[string]any) error {
	document, err := json.Marshal(config)
	if err != nil {
		return err
	}
	given, free := secretCString(string(document))
	defer free()
	var failed *C.pgentra_error
	return takeError(C.pgentra_config_check(given, &failed), failed)
}

func openQueue(name string) (credentialHandle, error) {
	startLog()
	given, free := secretCString(withoutNUL(name))
	defer free()
	var opened *C.pgentra_credential
	var failed *C.pgentra_error
	return opened, takeError(C.pgentra_credential_queue(given, &opened, &failed), failed)
}

func closeCredential(credential credentialHandle) { C.pgentra_credential_close(credential) }

// credentialToken returns a token. With a limit it waits, a negative one being 30 s; without, the token is nil if none is cached.
func credentialToken(credential credentialHandle, wanted TokenRequest, limit int) (*Token, error) {
	scope, freeScope := optionalCString(withoutNUL(wanted.Scope))
	defer freeScope()
	tenant, freeTenant := optionalCString(withoutNUL(wanted.TenantID))
	defer freeTenant()
	claims, freeClaims := optionalCString(withoutNUL(wanted.Claims))
	defer freeClaims()
	request := (*C.pgentra_token_request)(C.calloc(1, C.sizeof_pgentra_token_request))
	defer C.free(unsafe.Pointer(request))
	request.size = C.sizeof_pgentra_token_request
	request.scope, request.tenant_id, request.claims = scope, tenant, claims
	request.enable_cae = C.bool(wanted.EnableCAE)
	var result C.pgentra_go_result
	if limit == 0 {
		result.kind = C.pgentra_credential_try_get_token(credential, request, &result.id, &result.password,
			&result.expires_on, &result.refresh_on, &result.error)
	} else {
		result.kind = C.pgentra_credential_get_token(credential, request, C.int32_t(limit), &result.password,
			&result.expires_on, &result.error)
	}
	if err := takeError(result.kind, result.error); err != nil || result.password == nil {
		return nil, err
	}
	return &Token{
		ExpiresOn: timeOf(result.expires_on),
		RefreshOn: timeOf(result.refresh_on),
		value:     hide(takeString(result.password)),
	}, nil
}

// nextRequest waits for a request to a custom credential. ok is false when the queue is closed.
func nextRequest(queue credentialHandle) (request requestHandle, wanted TokenRequest, ok bool) {
	var found *C.pgentra_token_request
	var failed *C.pgentra_error
	kind := C.pgentra_request_next(queue, -1, &request, &found, &failed)
	if kind != C.PGENTRA_OK {
		C.pgentra_error_free(failed)
		return nil, wanted, false
	}
	if request != nil {
		wanted = TokenRequest{
			Scope:     C.GoString(found.scope),
			TenantID:  C.GoString(found.tenant_id),
			Claims:    C.GoString(found.claims),
			EnableCAE: bool(found.enable_cae),
		}
	}
	return request, wanted, true
}

// respond completes a request with a token. A response that comes too late is ignored.
func respond(request requestHandle, token Token) {
	value, free := secretCString(token.Value())
	defer free()
	var failed *C.pgentra_error
	C.pgentra_request_respond(request, value, secondsOf(token.ExpiresOn), secondsOf(token.RefreshOn), &failed)
	C.pgentra_error_free(failed)
}

// fail completes a request with the application's error.
func fail(request requestHandle, class, message string, unavailable bool, cause error) {
	name, free := secretCString(withoutNUL(class))
	defer free()
	text, freeText := secretCString(withoutNUL(message))
	defer freeText()
	var failed *C.pgentra_error
	C.pgentra_go_request_fail(request, name, text, C.bool(unavailable), C.uint64_t(causes.add(cause)), &failed)
	C.pgentra_error_free(failed)
}

func takeFreedCause() uint64 { return uint64(C.pgentra_go_take_freed_cause()) }

// The log

func startNativeLog(wake uintptr) {
	var failed *C.pgentra_error
	C.pgentra_go_log_start(C.int32_t(wake), &failed)
	C.pgentra_error_free(failed)
}

// takeEvent returns the oldest event, and how many before it did not fit into the queue.
func takeEvent() (level int, target, message string, dropped uint64, ok bool) {
	var lost C.uint64_t
	event := C.pgentra_go_log_take(&lost)
	if event == nil {
		return 0, "", "", uint64(lost), false
	}
	defer C.pgentra_go_event_free(event)
	return int(event.level), C.GoString(event.target), C.GoString(event.message), uint64(lost), true
}

// headerVersion is that of pgentra.h.
const headerVersion = C.PGENTRA_VERSION

// Version returns the version of the library that the program uses.
func Version() string { return C.GoString(C.pgentra_version()) }

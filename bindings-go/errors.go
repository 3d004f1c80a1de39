package pgentra

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"
)

// An ErrorCode is the kind of an [Error]. The codes are errors themselves, so that errors.Is(err, pgentra.ErrThrottled) tests
// for one.
type ErrorCode string

// The kinds of errors.
const (
	// ErrCredentialUnavailable: the credential is not set up on this machine.
	ErrCredentialUnavailable ErrorCode = "credential_unavailable"
	// ErrAuthenticationFailed: Entra refused the credential, or a developer tool reported a failed sign-in.
	ErrAuthenticationFailed ErrorCode = "authentication_failed"
	// ErrInteractionRequired: Entra requires an action of the user.
	ErrInteractionRequired ErrorCode = "interaction_required"
	// ErrServiceUnavailable: the token service returned HTTP 5xx, or is overloaded.
	ErrServiceUnavailable ErrorCode = "service_unavailable"
	// ErrThrottled: the token service limits the number of requests.
	ErrThrottled ErrorCode = "throttled"
	// ErrNetwork: the token service could not be reached.
	ErrNetwork ErrorCode = "network"
	// ErrUntrustedCertificate: the certificate of the token service is not trusted.
	ErrUntrustedCertificate ErrorCode = "untrusted_certificate"
	// ErrTimeout: a time limit passed. An error for the end of a context matches its error too.
	ErrTimeout ErrorCode = "timeout"
	// ErrBadResponse: the response of the token service or developer tool cannot be read.
	ErrBadResponse ErrorCode = "bad_response"
	// ErrDeadOnArrival: the token in the response has already expired.
	ErrDeadOnArrival ErrorCode = "dead_on_arrival"
	// ErrTokenDecode: the token is not a readable JWT.
	ErrTokenDecode ErrorCode = "token_decode"
	// ErrUsernameExtraction: the token contains no role name.
	ErrUsernameExtraction ErrorCode = "username_extraction"
	// ErrScopePermission: a token for the management scope was refused, so the role name could not be determined.
	ErrScopePermission ErrorCode = "scope_permission"
	// ErrCredentialValue: the credential returned a value that is not a token.
	ErrCredentialValue ErrorCode = "credential_value"
	// ErrInvalidConfiguration: an option is unknown, missing, empty or of the wrong type.
	ErrInvalidConfiguration ErrorCode = "invalid_configuration"
	// ErrInvalidConnection: the connection's settings contradict each other or the options.
	ErrInvalidConnection ErrorCode = "invalid_connection"
	// ErrInsecureTransport: a token would have been sent over a connection without TLS.
	ErrInsecureTransport ErrorCode = "insecure_transport"
	// ErrWouldDeadlock: a token was requested inside the call of the credential that must return it.
	ErrWouldDeadlock ErrorCode = "would_deadlock"
	// ErrShuttingDown: the process is ending and fetches no new tokens.
	ErrShuttingDown ErrorCode = "shutting_down"
	// ErrCancelled: the wait was cancelled by its context, or the provider was closed.
	ErrCancelled ErrorCode = "cancelled"
	// ErrCustomCredential: a custom credential failed. The error wraps the credential's own.
	ErrCustomCredential ErrorCode = "custom_credential"
	// ErrInternal: a defect of pgentra.
	ErrInternal ErrorCode = "internal"
	// ErrInvalidArgument: the library was called with an invalid argument.
	ErrInvalidArgument ErrorCode = "invalid_argument"
)

// Error returns the code.
func (c ErrorCode) Error() string { return string(c) }

var errorNumbers = sync.OnceValue(func() map[ErrorCode]int {
	numbers := map[ErrorCode]int{}
	kinds, err := nativeErrorKinds()
	if err != nil {
		return numbers
	}
	for _, kind := range kinds {
		numbers[kind.Code] = kind.Number
	}
	return numbers
})

func (c ErrorCode) number() int { return errorNumbers()[c] }

type errorKind struct {
	Number int       `json:"number"`
	Code   ErrorCode `json:"code"`
}

// An Error says what failed, for which credential, what the token source reported and what to do. It contains no token and
// no secret. errors.Is compares its code, and finds the error of a custom credential and of a context.
type Error struct {
	// Code is the kind of the error.
	Code ErrorCode
	// Message is the whole message; the attempts of a chain follow on separate lines.
	Message string
	// Advice says what to do. The message contains it.
	Advice string
	// Transient reports whether the same call may succeed later without a change.
	Transient bool
	// Credential is the name of the credential, or empty.
	Credential string
	// AADSTS is Entra's error code, such as 7000215, or 0.
	AADSTS int
	// Status is the HTTP status of the token source, or 0.
	Status int
	// RetryAfter is the time after which the token source accepts another request, or 0.
	RetryAfter time.Duration
	// TraceID and CorrelationID identify the request at Entra.
	TraceID, CorrelationID string
	// Claims is a claims challenge for the user, or empty.
	Claims string
	// Attempts are the errors of a chain's members.
	Attempts []Attempt
	// Detail is the error as a JSON document; docs/errors.md lists its members.
	Detail json.RawMessage

	causes []error
}

// An Attempt is the error of one member of a credential chain.
type Attempt struct {
	Credential string    `json:"credential"`
	Code       ErrorCode `json:"code"`
	Message    string    `json:"message"`
}

// errorOf returns an error with its whole message and its document.
func errorOf(message, detail string) *Error {
	var read struct {
		Code          ErrorCode `json:"code"`
		Advice        string    `json:"advice"`
		Transient     bool      `json:"transient"`
		Credential    string    `json:"credential"`
		AADSTS        int       `json:"aadsts"`
		Status        int       `json:"status"`
		RetryAfter    float64   `json:"retry_after"`
		TraceID       string    `json:"trace_id"`
		CorrelationID string    `json:"correlation_id"`
		Claims        string    `json:"claims"`
		Attempts      []Attempt `json:"attempts"`
	}
	if err := json.Unmarshal([]byte(detail), &read); err != nil {
		return &Error{Code: ErrInternal, Message: message}
	}
	return &Error{
		Code:          read.Code,
		Message:       message,
		Advice:        read.Advice,
		Transient:     read.Transient,
		Credential:    read.Credential,
		AADSTS:        read.AADSTS,
		Status:        read.Status,
		RetryAfter:    time.Duration(read.RetryAfter * float64(time.Second)),
		TraceID:       read.TraceID,
		CorrelationID: read.CorrelationID,
		Claims:        read.Claims,
		Attempts:      read.Attempts,
		Detail:        json.RawMessage(detail),
	}
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Is reports whether target is the error's code.
func (e *Error) Is(target error) bool { return target == error(e.Code) }

// Unwrap returns the errors of a custom credential and of a context.
func (e *Error) Unwrap() []error { return e.causes }

// Timeout reports whether a time limit passed.
func (e *Error) Timeout() bool { return e.Code == ErrTimeout }

// NewError returns an error of this package's kind, for packages of drivers. message says what failed, without a full stop; advice
// says what to do.
func NewError(code ErrorCode, message, advice string) *Error {
	return newError(code, message, advice, "")
}

// contextError returns the error of a wait that a context ended. known is the library's error at that time, which contains the
// last failure of the fetch, or nil.
func contextError(ctx context.Context, known error) error {
	ended := context.Cause(ctx)
	found, ok := known.(*Error)
	if !ok || ctx.Err() == context.Canceled {
		code, message := ErrCancelled, "the wait for a token was cancelled"
		if ctx.Err() == context.DeadlineExceeded {
			code, message = ErrTimeout, "no token was available before the deadline of the context"
		}
		found = newError(code, message, "", "")
	}
	if ended != ctx.Err() {
		found.causes = append(found.causes, ended)
	}
	found.causes = append(found.causes, ctx.Err())
	return found
}

func closedError() error {
	return newError(ErrCancelled, "the provider is closed", "Close it when no more connections are opened.", "")
}

// causes are the errors of custom credentials that errors of the library contain, by their id.
var causes = causeTable{found: map[uint64]error{}}

type causeTable struct {
	lock  sync.Mutex
	last  uint64
	found map[uint64]error
}

func (t *causeTable) add(cause error) uint64 {
	t.lock.Lock()
	defer t.lock.Unlock()
	for id := takeFreedCause(); id != 0; id = takeFreedCause() {
		delete(t.found, id)
	}
	t.last++
	t.found[t.last] = cause
	return t.last
}

func (t *causeTable) find(id uint64) error {
	t.lock.Lock()
	defer t.lock.Unlock()
	return t.found[id]
}

// A LoginError is the error with which the server rejected a login, extended with the principal and the role that were used,
// and what to do. It wraps the driver's error.
type LoginError struct {
	// Cause is the kind of the rejection, such as "role_missing"; docs/troubleshooting.md lists them.
	Cause string
	// Explanation are the lines that are added to the driver's message.
	Explanation string

	err error
}

// Error returns the driver's message and the explanation.
func (e *LoginError) Error() string {
	return fmt.Sprintf("%v\n%s", e.err, strings.TrimRight(e.Explanation, "\n"))
}

// Unwrap returns the driver's error.
func (e *LoginError) Unwrap() error { return e.err }

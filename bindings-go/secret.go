package pgentra

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"
)

const redacted = "[redacted]"

// A hidden text is behind a function, so that no printer that follows pointers and fields shows it.
type hidden struct{ reveal func() string }

func hide(text string) *hidden { return &hidden{func() string { return text }} }

func (h *hidden) text() string {
	if h == nil {
		return ""
	}
	return h.reveal()
}

// A Token is an access token. It prints as "[redacted]".
type Token struct {
	// ExpiresOn is the time at which the token ends. A custom credential may leave it out; then the token's own claim applies.
	ExpiresOn time.Time
	// RefreshOn is the time after which the token should be renewed, or zero.
	RefreshOn time.Time

	value *hidden
}

// NewToken returns a token, as a custom credential returns it. A zero expiry is read from the token.
func NewToken(value string, expiresOn time.Time) Token {
	return Token{ExpiresOn: expiresOn, value: hide(value)}
}

// Value returns the token's text, which is the password for PostgreSQL.
func (t Token) Value() string { return t.value.text() }

// String returns "[redacted]".
func (t Token) String() string { return redacted }

// Format prints "[redacted]" for every verb.
func (t Token) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, redacted) }

// LogValue returns "[redacted]".
func (t Token) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[redacted]".
func (t Token) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// A Login is a role and its password, which is a token. It prints without the password.
type Login struct {
	// User is the role to log in as.
	User string
	// Source is the source of the role's name: "user", "PGUSER", a claim's name, "management token" or "fallback_username".
	Source string
	// ExpiresOn is the time at which the token ends. Sessions that are open continue after it.
	ExpiresOn time.Time

	password *hidden
}

// Password returns the token.
func (l Login) Password() string { return l.password.text() }

// String returns the login without the password.
func (l Login) String() string {
	return fmt.Sprintf("Login{User: %q, Source: %q, Password: %s}", l.User, l.Source, redacted)
}

// Format prints the login without the password for every verb.
func (l Login) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, l.String()) }

// LogValue returns the login without the password.
func (l Login) LogValue() slog.Value {
	return slog.GroupValue(slog.String("user", l.User), slog.String("source", l.Source), slog.String("password", redacted))
}

// MarshalJSON returns the login without the password.
func (l Login) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]any{
		"user": l.User, "source": l.Source, "expires_on": l.ExpiresOn, "password": redacted,
	})
}

// A TokenRequest is what a credential is asked for.
type TokenRequest struct {
	// Scope is the scope of the token, such as https://ossrdbms-aad.database.windows.net/.default.
	Scope string
	// TenantID is a tenant in place of the credential's own, or empty.
	TenantID string
	// Claims is a claims challenge, or empty.
	Claims string
	// EnableCAE reports whether the token may be revoked by a claims challenge.
	EnableCAE bool
}

// A TokenCredential obtains tokens. All credentials of this package implement it, and applications can: see [WithCredential].
//
// The tokens of a credential are cached: GetToken is called when a fetch is due, on a goroutine of this package, never twice at
// once for equal requests. Providers with the same pointer share one cached token. The context ends after 75 s, and when the
// last provider that uses the credential is closed. An error that matches [ErrCredentialUnavailable] makes a chain continue
// with its next member.
type TokenCredential interface {
	GetToken(ctx context.Context, request TokenRequest) (Token, error)
}

// A CredentialFunc is a function as a credential.
type CredentialFunc func(ctx context.Context, request TokenRequest) (Token, error)

// GetToken calls the function.
func (f CredentialFunc) GetToken(ctx context.Context, request TokenRequest) (Token, error) {
	return f(ctx, request)
}

// LoginOf returns the login of a role and its password, for functions such as [Connection.Explain] after a driver's error.
func LoginOf(user, password string) Login {
	return Login{User: user, Source: "user", password: hide(password)}
}

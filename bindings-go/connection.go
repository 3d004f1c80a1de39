package pgentra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Driver says which settings a PostgreSQL driver reads, for [OpenConnection].
type Driver struct {
	// ReadsHostaddr reports whether it knows the setting hostaddr and the variable PGHOSTADDR.
	ReadsHostaddr bool
}

// variables are those that Go's drivers read, by libpq's keywords. The library itself reads PGUSER.
func (d Driver) variables() map[string]string {
	read := map[string]string{
		"host": "PGHOST", "port": "PGPORT", "dbname": "PGDATABASE", "service": "PGSERVICE", "servicefile": "PGSERVICEFILE",
		"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT", "connect_timeout": "PGCONNECT_TIMEOUT",
	}
	if d.ReadsHostaddr {
		read["hostaddr"] = "PGHOSTADDR"
	}
	return read
}

// connectionPlan is the library's decision how connections log in.
type connectionPlan struct {
	UsesEntra  bool              `json:"uses_entra"`
	User       string            `json:"user"`
	UserSource string            `json:"user_source"`
	SSLMode    string            `json:"sslmode"`
	IsLocal    bool              `json:"is_local"`
	Host       string            `json:"host"`
	Timeout    float64           `json:"timeout"`
	Settings   map[string]string `json:"settings"`
	Warnings   []string          `json:"warnings"`
	ConnInfo   string            `json:"conninfo"`
	Config     map[string]any    `json:"config"`
}

// planConnection requests a plan for settings by libpq's keywords.
func planConnection(given *settings, driver Driver, arguments map[string]any) (connectionPlan, error) {
	names := connectionVariables()
	if connector, ok := given.request["service_connector"]; ok && connector != false {
		names = nil
	}
	config := maps.Clone(given.config)
	request := map[string]any{
		"arguments": arguments,
		"variables": driver.variables(),
		// Both drivers use the system's certificate authorities if no file is given.
		"verifies_certificates": true,
		"has_credential":        given.credential != nil,
		"environment":           environmentOf(given.environment, names),
		"spelling":              "pascal",
		"conninfo":              true,
		"config":                config,
	}
	maps.Copy(request, given.request)
	var plan connectionPlan
	document, err := nativePlanDocument(request)
	if err != nil {
		return plan, err
	}
	if err := json.Unmarshal(document, &plan); err != nil {
		return plan, err
	}
	for _, warning := range plan.Warnings {
		warn(warning)
	}
	return plan, nil
}

// A Connection says how connections with given settings log in: with the settings' own password or with a token, with which role
// and with which sslmode. pgxentra and pqentra use it; it serves other drivers in the same way.
type Connection struct {
	plan     connectionPlan
	provider *TokenProvider
	settings *settings
	// host is empty with Azure Service Connector, so that a login error does not name unused variables.
	host  string
	isOwn bool
	limit time.Duration
}

// OpenConnection reads a connection string of libpq, as key=value pairs or as a URL, with the variables and the service file that
// the driver reads. It fetches nothing. An error says what is wrong with the settings, or that TLS is disabled for a server that is
// not local.
func OpenConnection(connString string, driver Driver, options ...Option) (*Connection, error) {
	return openConnection(connString, driver, newSettings(options), nil)
}

// OpenConnectionWith opens a connection with an open provider. The options of connections are those of the provider; others are
// not allowed.
func OpenConnectionWith(provider *TokenProvider, connString string, driver Driver) (*Connection, error) {
	if provider == nil {
		return nil, newError(ErrInvalidConfiguration, "the provider is nil", "", "")
	}
	given := *provider.inner.settings
	if _, ok := given.request["service_connector"]; ok {
		// The provider has the credential of the variables.
		given.credential = nil
	}
	return openConnection(connString, driver, &given, provider)
}

func openConnection(connString string, driver Driver, given *settings, provider *TokenProvider) (*Connection, error) {
	read, err := nativeReadConnection(connString, "libpq_with_parameters")
	if err != nil {
		return nil, err
	}
	arguments := map[string]any{}
	for keyword, value := range read {
		arguments[keyword] = value
	}
	if _, ok := arguments["hostaddr"]; ok && !driver.ReadsHostaddr {
		return nil, newError(ErrInvalidConnection, "the driver does not support the setting hostaddr",
			"Write the address as host.", "")
	}
	if user, ok := given.config["user"]; ok {
		arguments["user"] = user
	}
	plan, err := planConnection(given, driver, arguments)
	if err != nil {
		return nil, err
	}
	if plan.ConnInfo, err = withParameters(plan.ConnInfo, read); err != nil {
		return nil, err
	}
	made := &Connection{plan: plan, provider: provider, settings: given, host: plan.Host}
	if connector, ok := given.request["service_connector"]; ok && connector != false {
		made.host = ""
	}
	if plan.Timeout > 0 {
		limit := time.Duration(plan.Timeout * float64(time.Second))
		// The error needs a part of the limit to reach the caller.
		made.limit = limit - min(limit/10, time.Second)
	}
	if plan.UsesEntra && provider == nil {
		config := plan.Config
		if config == nil {
			config = given.config
		}
		opened, err := newProvider(&settings{
			config: config, credential: given.credential, environment: given.environment, request: map[string]any{},
		})
		if err != nil {
			return nil, err
		}
		made.provider, made.isOwn = opened, true
	}
	return made, nil
}

// withParameters adds the settings that are not libpq's: the driver sends them to the server, or its pool uses them.
func withParameters(conninfo string, settings map[string]string) (string, error) {
	written, err := nativeReadConnection(conninfo, "libpq")
	if err != nil {
		return "", err
	}
	var text strings.Builder
	text.WriteString(conninfo)
	for _, keyword := range slices.Sorted(maps.Keys(settings)) {
		_, isWritten := written[keyword]
		// A password that is left out is one that is not used.
		if !isWritten && keyword != "password" && keyword != "user" {
			quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(settings[keyword])
			text.WriteString(" " + keyword + "='" + quoted + "'")
		}
	}
	return text.String(), nil
}

// Close closes the provider, unless it was passed to [OpenConnectionWith]. Connections of the driver stay open.
func (c *Connection) Close() error {
	if c.isOwn {
		return c.provider.Close()
	}
	return nil
}

// UsesEntra reports whether the password is a token. If not, the settings have a password of their own.
func (c *Connection) UsesEntra() bool { return c.plan.UsesEntra }

// ConnString returns the settings to give the driver, as key=value pairs. If a token is used, they have no password, and a user only
// if it is known already. Otherwise they may contain a password.
func (c *Connection) ConnString() string { return c.plan.ConnInfo }

// IsLocal reports whether all servers are on this machine: loopback addresses or Unix sockets. Only there, or with
// [WithAllowInsecureTransport], a token may be sent without TLS.
func (c *Connection) IsLocal() bool { return c.plan.IsLocal }

// AllowsPlaintext reports whether a token may be sent to a server without TLS.
func (c *Connection) AllowsPlaintext(host string) bool {
	return c.settings.request["allow_insecure_transport"] == true || IsLocal(host)
}

// Provider returns the provider of the tokens, or nil if the settings have a password of their own.
func (c *Connection) Provider() *TokenProvider { return c.provider }

// Login returns the role and the token for a new connection. It waits at most until the context ends, and at most for most of the
// connection's connect_timeout.
func (c *Connection) Login(ctx context.Context) (Login, error) {
	if c.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.limit)
		defer cancel()
	}
	defer runtime.KeepAlive(c)
	if c.plan.User == "" {
		return c.provider.Login(ctx)
	}
	token, err := c.provider.Token(ctx)
	if err != nil {
		return Login{}, err
	}
	return Login{User: c.plan.User, Source: c.plan.UserSource, ExpiresOn: token.ExpiresOn, password: token.value}, nil
}

// Renew returns the login that is worth one more try after the server rejected one with this SQLSTATE and message. ok is false if a
// newer token would not help, or is not available.
func (c *Connection) Renew(ctx context.Context, rejected Login, sqlstate, message string) (renewed Login, ok bool) {
	if !c.plan.UsesEntra || !nativeLoginErrorIsRetriable(sqlstate, message) {
		return Login{}, false
	}
	if c.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.limit)
		defer cancel()
	}
	newer, err := c.provider.Invalidate(ctx, rejected.Password())
	if err != nil || !newer {
		return Login{}, false
	}
	renewed, err = c.Login(ctx)
	return renewed, err == nil
}

const passwordUsed = "Entra was not used: the connection has a user and a password of its own. Remove the password to log in with " +
	"a token, or set WithRequireEntra to make this an error."

// Explain returns a [LoginError] that wraps the driver's error, or that error if it is not a login error. A zero login stands for
// the settings' own password.
func (c *Connection) Explain(login Login, sqlstate, message string, err error) error {
	cause := nativeLoginErrorCause(sqlstate, message)
	if cause == "not_a_login" {
		return err
	}
	explanation := passwordUsed
	if c.plan.UsesEntra {
		environment := environmentOf(c.settings.environment, nil)
		explanation = nativeExplainLoginError(sqlstate, message, login.User, login.Source, login.Password(), c.host, environment)
	}
	if explanation == "" {
		return err
	}
	return &LoginError{Cause: cause, Explanation: explanation, err: err}
}

// String returns the name of the type.
func (c *Connection) String() string { return "Connection" }

// GoString returns the name of the type.
func (c *Connection) GoString() string { return "Connection" }

// Format prints the name of the type for every verb.
func (c *Connection) Format(state fmt.State, _ rune) { _, _ = fmt.Fprint(state, "Connection") }

// A RejectedLogin is what a driver's error says about a login.
type RejectedLogin struct {
	// SQLState is the server's code, or empty if the driver does not return it.
	SQLState string
	// Message is the server's message.
	Message string
}

// Connect opens a connection of a driver: it logs in, tries once more with a newer token if that may help, and explains a login
// error. attempt gets a zero login if the settings have a password of their own. rejected returns what an error says about a
// login; ok is false for an error that has no message of the server.
func Connect[T any](
	ctx context.Context, c *Connection, attempt func(context.Context, Login) (T, error),
	rejected func(error) (RejectedLogin, bool),
) (T, error) {
	var none T
	var login Login
	if c.UsesEntra() {
		var err error
		if login, err = c.Login(ctx); err != nil {
			return none, err
		}
	}
	made, err := attempt(ctx, login)
	if err == nil {
		return made, nil
	}
	found, ok := rejected(err)
	if !ok {
		return none, err
	}
	if newer, again := c.Renew(ctx, login, found.SQLState, found.Message); again {
		login = newer
		if made, err = attempt(ctx, login); err == nil {
			return made, nil
		}
		if found, ok = rejected(err); !ok {
			return none, err
		}
	}
	var explained *LoginError
	if errors.As(err, &explained) {
		return none, err
	}
	return none, c.Explain(login, found.SQLState, found.Message, err)
}

var localHosts sync.Map

// IsLocal reports whether a host, an address or the path of a Unix socket is on this machine, by the rule for tokens without TLS.
// A name other than localhost is not.
func IsLocal(host string) bool {
	if found, ok := localHosts.Load(host); ok {
		return found.(bool)
	}
	document, err := nativePlanDocument(map[string]any{
		"arguments": map[string]any{"host": host, "sslmode": "require"}, "variables": map[string]any{},
		"service_files": false, "environment": map[string]any{},
	})
	if err != nil {
		return false
	}
	var plan connectionPlan
	if json.Unmarshal(document, &plan) != nil {
		return false
	}
	localHosts.Store(host, plan.IsLocal)
	return plan.IsLocal
}

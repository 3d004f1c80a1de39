package pgentra

import (
	"maps"
	"time"
)

// An Option is a setting of a provider or of connections. The functions of all packages take the same options.
type Option func(*settings)

type settings struct {
	config      map[string]any
	credential  TokenCredential
	environment map[string]string
	// Of connections.
	request map[string]any
}

func newSettings(options []Option) *settings {
	made := &settings{config: map[string]any{}, request: map[string]any{}}
	for _, option := range options {
		if option != nil {
			option(made)
		}
	}
	return made
}

func set(key string, value any) Option { return func(s *settings) { s.config[key] = value } }

func setRequest(key string, value any) Option { return func(s *settings) { s.request[key] = value } }

// A RefreshMode says when a provider refreshes its token.
type RefreshMode string

const (
	// RefreshBackground starts a refresh in the background at a call after the refresh point. It is the default.
	RefreshBackground RefreshMode = "background"
	// RefreshLazy waits for a new token at a call after the refresh point, without background work: for serverless functions,
	// which are frozen between calls. It is the default in AWS Lambda.
	RefreshLazy RefreshMode = "lazy"
	// RefreshAhead also refreshes the token on a timer, without calls.
	RefreshAhead RefreshMode = "ahead"
)

// WithCredential sets the credential: one of this package, or one of the application. The default is
// [DefaultAzureCredential].
func WithCredential(credential TokenCredential) Option {
	return func(s *settings) { s.credential = credential }
}

// WithHost sets the server's host name. It determines the cloud if neither the scope nor the credential does. Connections know
// it already.
func WithHost(host string) Option { return set("host", host) }

// WithUser sets the role to log in as. The default is the user of the connection, then PGUSER, then the token's claims.
func WithUser(role string) Option { return set("user", role) }

// WithFallbackUsername sets the role to log in as if the token contains no role name.
func WithFallbackUsername(role string) Option { return set("fallback_username", role) }

// WithManagementLookup says whether the role name may be looked up with a management token. The default is true.
func WithManagementLookup(allowed bool) Option { return set("management_lookup", allowed) }

// WithScope sets the scope of the token. The default is the scope of the cloud.
func WithScope(scope string) Option { return set("scope", scope) }

// WithRefreshMode sets when the token is refreshed.
func WithRefreshMode(mode RefreshMode) Option { return set("mode", string(mode)) }

// WithTimeout sets the longest wait of a caller for a token. The default is 30 s. The end of the caller's context ends a wait too.
func WithTimeout(limit time.Duration) Option { return set("timeout", limit.Seconds()) }

// WithCache says whether tokens are cached. The default is true. If false, each connection fetches a token.
func WithCache(cache bool) Option { return set("cache", cache) }

// WithCAFile adds the certificate authorities of a PEM file to the system's, for token requests.
func WithCAFile(path string) Option { return set("ca_file", path) }

// WithEnvironment replaces the environment variables of the process, which are otherwise read when a provider or a connection
// is made. The driver itself still reads those of the process.
func WithEnvironment(variables map[string]string) Option {
	return func(s *settings) {
		s.environment = maps.Clone(variables)
		if s.environment == nil {
			s.environment = map[string]string{}
		}
	}
}

// WithServiceConnector takes the server, the database, the role and the identity from the variables of Azure Service Connector.
// The argument is the connection's name or the prefix of its variables; "" is for the only connection.
func WithServiceConnector(connection string) Option {
	if connection == "" {
		return setRequest("service_connector", true)
	}
	return setRequest("service_connector", connection)
}

// WithRequireEntra makes a password in the connection's settings an error. The default is to use it in place of a token.
func WithRequireEntra(required bool) Option { return setRequest("require_entra", required) }

// WithIgnorePassword drops a password in the connection's settings and logs in with a token.
func WithIgnorePassword(ignored bool) Option { return setRequest("ignore_password", ignored) }

// WithAllowInsecureTransport allows sending a token over a connection without TLS to a server that is not local.
func WithAllowInsecureTransport(allowed bool) Option {
	return setRequest("allow_insecure_transport", allowed)
}

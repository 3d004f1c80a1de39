// Package pgxentra logs connections of pgx in to PostgreSQL with a Microsoft Entra identity: pools, single connections and
// database/sql.
//
// A user and a password in the connection string are explicit: with a password, no token is used. A token is sent over TLS only,
// unless the server is local: sslmode=prefer and sslmode=allow become require.
package pgxentra

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"log/slog"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pgentra/pgentra/bindings-go"
)

// NewPool returns a pool whose connections log in with a token. Its connection string is that of pgxpool, and may name no user.
//
// The pool cannot repeat a login inside pgx. If the server rejects a token, the error is returned, a newer token is fetched, and
// the next connection uses it.
func NewPool(ctx context.Context, connString string, options ...pgentra.Option) (*pgxpool.Pool, error) {
	config, err := ParsePoolConfig(connString, options...)
	if err != nil {
		return nil, err
	}
	return pgxpool.NewWithConfig(ctx, config)
}

// ParsePoolConfig is pgxpool.ParseConfig for connections that log in with a token. The configuration has the functions
// BeforeConnect and Tracer; call them from functions that replace them.
func ParsePoolConfig(connString string, options ...pgentra.Option) (*pgxpool.Config, error) {
	connection, err := pgentra.OpenConnection(connString, pgentra.Driver{}, options...)
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig(connection.ConnString())
	if err != nil {
		return nil, err
	}
	if !connection.UsesEntra() {
		return config, nil
	}
	config.BeforeConnect = func(ctx context.Context, config *pgx.ConnConfig) error {
		login, err := connection.Login(ctx)
		if err != nil {
			return err
		}
		return apply(connection, config, login)
	}
	config.ConnConfig.Tracer = &Tracer{connection: connection}
	return config, nil
}

// BeforeConnect returns a function for pgxpool.Config.BeforeConnect and stdlib.OptionBeforeConnect that puts the provider's login
// into the configuration of a connection, and removes what would send a token without TLS. A user in the connection string is
// kept. With a password there, the configuration stays as it is, unless [pgentra.WithIgnorePassword] is an option of the provider.
//
// Add a [Tracer] to fetch a newer token after a rejected login.
func BeforeConnect(provider *pgentra.TokenProvider) func(context.Context, *pgx.ConnConfig) error {
	var known sync.Map
	return func(ctx context.Context, config *pgx.ConnConfig) error {
		found, ok := known.Load(config.ConnString())
		if !ok {
			read, err := readTarget(provider, config.ConnString())
			if err != nil {
				return err
			}
			found, _ = known.LoadOrStore(config.ConnString(), read)
		}
		from := found.(*target)
		if !from.connection.UsesEntra() {
			return nil
		}
		login, err := from.connection.Login(ctx)
		if err != nil {
			return err
		}
		if config.User != from.user {
			// The program has set it.
			login.User = config.User
		}
		return apply(from.connection, config, login)
	}
}

// A target is a connection string that was read.
type target struct {
	connection *pgentra.Connection
	// user is what pgx reads: the account of the operating system if no user is given.
	user string
}

func readTarget(provider *pgentra.TokenProvider, connString string) (*target, error) {
	connection, err := pgentra.OpenConnectionWith(provider, connString, pgentra.Driver{})
	if err != nil {
		return nil, err
	}
	parsed, err := pgx.ParseConfig(connString)
	if err != nil {
		return nil, err
	}
	return &target{connection, parsed.User}, nil
}

// Connect opens one connection. If the server rejects the token, it tries once more with a newer one. The error of a rejected
// login is a [pgentra.LoginError].
func Connect(ctx context.Context, connString string, options ...pgentra.Option) (*pgx.Conn, error) {
	connection, base, err := open(connString, options)
	if err != nil {
		return nil, err
	}
	defer func() { _ = connection.Close() }()
	return connect(ctx, connection, base, pgx.ConnectConfig)
}

// OpenDB returns a pool of database/sql whose connections log in with a token, as [Connect] does. It does not connect.
func OpenDB(connString string, options ...pgentra.Option) (*sql.DB, error) {
	connector, err := NewConnector(connString, options...)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// NewConnector returns the connector of [OpenDB], for sql.OpenDB and for libraries that wrap connectors.
func NewConnector(connString string, options ...pgentra.Option) (driver.Connector, error) {
	connection, base, err := open(connString, options)
	if err != nil {
		return nil, err
	}
	return &connector{connection, base}, nil
}

type connector struct {
	connection *pgentra.Connection
	base       *pgx.ConnConfig
}

// Connect opens a connection.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	return connect(ctx, c.connection, c.base, func(ctx context.Context, config *pgx.ConnConfig) (driver.Conn, error) {
		return stdlib.GetConnector(*config).Connect(ctx)
	})
}

// Driver returns pgx's driver.
func (c *connector) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

// Close is called by sql.DB.Close.
func (c *connector) Close() error { return c.connection.Close() }

func open(connString string, options []pgentra.Option) (*pgentra.Connection, *pgx.ConnConfig, error) {
	connection, err := pgentra.OpenConnection(connString, pgentra.Driver{}, options...)
	if err != nil {
		return nil, nil, err
	}
	base, err := pgx.ParseConfig(connection.ConnString())
	if err != nil {
		return nil, nil, errors.Join(err, connection.Close())
	}
	return connection, base, nil
}

func connect[T any](
	ctx context.Context, connection *pgentra.Connection, base *pgx.ConnConfig,
	attempt func(context.Context, *pgx.ConnConfig) (T, error),
) (T, error) {
	return pgentra.Connect(ctx, connection, func(ctx context.Context, login pgentra.Login) (T, error) {
		config := base.Copy()
		if connection.UsesEntra() {
			if err := apply(connection, config, login); err != nil {
				var none T
				return none, err
			}
		}
		return attempt(ctx, config)
	}, rejected)
}

func rejected(err error) (pgentra.RejectedLogin, bool) {
	var failed *pgconn.PgError
	if !errors.As(err, &failed) {
		return pgentra.RejectedLogin{}, false
	}
	return pgentra.RejectedLogin{SQLState: failed.Code, Message: failed.Message}, true
}

// apply puts a login into a configuration, and removes the servers to which a token would be sent without TLS: pgx has them for
// sslmode=prefer and sslmode=allow.
func apply(connection *pgentra.Connection, config *pgx.ConnConfig, login pgentra.Login) error {
	ways := []*pgconn.FallbackConfig{{Host: config.Host, Port: config.Port, TLSConfig: config.TLSConfig}}
	kept := make([]*pgconn.FallbackConfig, 0, len(config.Fallbacks)+1)
	for _, way := range append(ways, config.Fallbacks...) {
		if way.TLSConfig != nil || connection.AllowsPlaintext(way.Host) {
			kept = append(kept, way)
		}
	}
	if len(kept) == 0 {
		return &pgentra.Error{
			Code:    pgentra.ErrInsecureTransport,
			Message: "a token is not sent over a connection without TLS: TLS is disabled for " + config.Host + ". Set sslmode=verify-full.",
			Advice:  "Set sslmode=verify-full.",
		}
	}
	config.Host, config.Port, config.TLSConfig = kept[0].Host, kept[0].Port, kept[0].TLSConfig
	config.Fallbacks = kept[1:]
	config.User, config.Password = login.User, login.Password()
	return nil
}

// A Tracer fetches a newer token after a rejected login, so that the pool's next connection uses it, and logs the explanation of
// the error. [NewPool] and [ParsePoolConfig] set it; [NewTracer] is for a pool with [BeforeConnect].
type Tracer struct {
	connection *pgentra.Connection
}

// NewTracer returns a tracer for pgx.ConnConfig.Tracer. next is the program's own tracer, or nil.
func NewTracer(provider *pgentra.TokenProvider, connString string, next pgx.QueryTracer) (pgx.QueryTracer, error) {
	connection, err := pgentra.OpenConnectionWith(provider, connString, pgentra.Driver{})
	if err != nil {
		return nil, err
	}
	made := &Tracer{connection: connection}
	if next == nil {
		return made, nil
	}
	return multitracer.New(made, next), nil
}

type attemptKey struct{}

// TraceConnectStart remembers the connection's login.
func (t *Tracer) TraceConnectStart(ctx context.Context, data pgx.TraceConnectStartData) context.Context {
	return context.WithValue(ctx, attemptKey{}, data.ConnConfig)
}

// TraceConnectEnd fetches a newer token if the server rejected the login.
func (t *Tracer) TraceConnectEnd(ctx context.Context, data pgx.TraceConnectEndData) {
	found, ok := rejected(data.Err)
	config, _ := ctx.Value(attemptKey{}).(*pgx.ConnConfig)
	if !ok || config == nil {
		return
	}
	login := pgentra.LoginOf(config.User, config.Password)
	if current, err := t.connection.Login(ctx); err == nil && current.Password() == config.Password && current.User == config.User {
		login = current // With the source of the role's name.
	}
	if _, ok := t.connection.Renew(ctx, login, found.SQLState, found.Message); ok {
		return
	}
	var explained *pgentra.LoginError
	if errors.As(t.connection.Explain(login, found.SQLState, found.Message, data.Err), &explained) {
		pgentra.Logger().WarnContext(ctx, "the server rejected a login: "+explained.Error(), slog.String("cause", explained.Cause))
	}
}

// TraceQueryStart does nothing. A tracer must have it.
func (t *Tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd does nothing. A tracer must have it.
func (t *Tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// Package pqentra logs connections of lib/pq in to PostgreSQL with a Microsoft Entra identity, for database/sql.
//
// A user and a password in the connection string are explicit: with a password, no token is used. A token is sent over TLS only,
// unless the server is local.
package pqentra

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"

	"github.com/lib/pq"
	"github.com/pgentra/pgentra/bindings-go"
)

// OpenDB returns a pool of database/sql whose connections log in with a token. It does not connect. If the server rejects the token,
// a connection tries once more with a newer one. The error of a rejected login is a [pgentra.LoginError].
func OpenDB(connString string, options ...pgentra.Option) (*sql.DB, error) {
	connector, err := NewConnector(connString, options...)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// NewConnector returns the connector of [OpenDB], for sql.OpenDB and for libraries that wrap connectors.
func NewConnector(connString string, options ...pgentra.Option) (driver.Connector, error) {
	connection, err := pgentra.OpenConnection(connString, pgentra.Driver{ReadsHostaddr: true}, options...)
	if err != nil {
		return nil, err
	}
	base, err := pq.NewConfig(connection.ConnString())
	if err != nil {
		return nil, errors.Join(err, connection.Close())
	}
	return &connector{connection, base}, nil
}

type connector struct {
	connection *pgentra.Connection
	base       pq.Config
}

// Connect opens a connection.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	return pgentra.Connect(ctx, c.connection, func(ctx context.Context, login pgentra.Login) (driver.Conn, error) {
		config := c.base.Clone()
		if c.connection.UsesEntra() {
			if err := secure(c.connection, &config); err != nil {
				return nil, err
			}
			config.User, config.Password = login.User, login.Password()
		}
		made, err := pq.NewConnectorConfig(config)
		if err != nil {
			return nil, err
		}
		return made.Connect(ctx)
	}, rejected)
}

// Driver returns lib/pq's driver.
func (c *connector) Driver() driver.Driver { return &pq.Driver{} }

// Close is called by sql.DB.Close.
func (c *connector) Close() error { return c.connection.Close() }

// secure makes every attempt use TLS, unless a token may be sent without it.
func secure(connection *pgentra.Connection, config *pq.Config) error {
	switch config.SSLMode {
	case pq.SSLModeDisable, pq.SSLModeAllow, pq.SSLModePrefer:
	default:
		return nil
	}
	hosts := []string{config.Host}
	if config.Hostaddr.IsValid() {
		hosts[0] = config.Hostaddr.String()
	}
	for _, more := range config.Multi {
		host := more.Host
		if more.Hostaddr.IsValid() {
			host = more.Hostaddr.String()
		}
		hosts = append(hosts, host)
	}
	for _, host := range hosts {
		if connection.AllowsPlaintext(host) {
			continue
		}
		if config.SSLMode == pq.SSLModeDisable {
			return &pgentra.Error{
				Code:    pgentra.ErrInsecureTransport,
				Message: "a token is not sent over a connection without TLS: TLS is disabled for " + host + ". Set sslmode=verify-full.",
				Advice:  "Set sslmode=verify-full.",
			}
		}
		config.SSLMode = pq.SSLModeRequire
		return nil
	}
	return nil
}

func rejected(err error) (pgentra.RejectedLogin, bool) {
	var failed *pq.Error
	if !errors.As(err, &failed) {
		return pgentra.RejectedLogin{}, false
	}
	return pgentra.RejectedLogin{SQLState: string(failed.Code), Message: failed.Message}, true
}
